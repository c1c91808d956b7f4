//! Fuzz targets as plain functions.
//!
//! The table in [`targets`] is the one list: libFuzzer's binaries in `fuzz/` look their function up in it, and
//! so do the tests here, which replay `fuzz/corpus/<target>/` and bounded mutations of it on the stable
//! toolchain. A target panics when a promise is broken and returns when the bytes were merely refused.
//!
//! Absent on purpose: coverage. That is libFuzzer's work; what it finds is put into the corpus and stays found.

pub mod mutate;
pub mod targets;

use std::io;
use std::path::{Path, PathBuf};

pub use targets::{TARGETS, Target, find};

/// Inputs of one target: what its code brings along, then the files of its corpus in order of name.
///
/// # Errors
/// A corpus that cannot be read. One that does not exist is empty.
pub fn inputs(root: &Path, target: &Target) -> io::Result<Vec<Vec<u8>>> {
    let mut inputs: Vec<Vec<u8>> = (target.examples)();
    for file in corpus(root, target.name)? {
        inputs.push(std::fs::read(file)?);
    }
    Ok(inputs)
}

/// Files of a target's corpus.
///
/// # Errors
/// A folder that exists and cannot be read.
pub fn corpus(root: &Path, name: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(root.join("fuzz/corpus").join(name)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}
