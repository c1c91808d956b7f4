//! Programs of others, for tests and benchmarks: where they are, how they are run and how they are ended.
//!
//! `cargo xtask peers` unpacks them; here they are found. A test that needs one says so like this, and is
//! counted as skipped rather than passed where it is missing:
//!
//! ```
//! let dig = match portolan_peers::tool("dig") {
//!     Ok(dig) => dig,
//!     Err(missing) => return println!("{missing}"),
//! };
//! # drop(dig);
//! ```
//!
//! Absent on purpose: any runtime. Tests with and without tokio use the same few functions.

mod poll;
mod running;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use poll::{Timeout, until};
pub use running::{Exit, Running, StartError, reserve_port};

/// A program that is not here. Its text is the line that a test prints and returns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("skipped: {what} is not here; {remedy}")]
pub struct Missing {
    what: String,
    remedy: &'static str,
}

impl Missing {
    fn peer(what: impl Into<String>) -> Self {
        Missing { what: what.into(), remedy: "`cargo xtask peers` fetches it" }
    }
}

/// An executable: one that was unpacked, else the host's.
///
/// # Errors
/// [`Missing`], which prints as the reason for skipping.
pub fn tool(name: &str) -> Result<PathBuf, Missing> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::iter::once(folder().join("bin"))
        .chain(std::env::split_paths(&path))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    places
        .map(|place| place.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Missing::peer(name))
}

/// A file of a Debian package, by its place below the root: one that was unpacked, else the host's.
///
/// # Errors
/// [`Missing`], which prints as the reason for skipping.
pub fn file(place: &str) -> Result<PathBuf, Missing> {
    [folder().join("root"), PathBuf::from("/")]
        .into_iter()
        .map(|root| root.join(place))
        .find(|path| path.exists())
        .ok_or_else(|| Missing::peer(format!("/{place}")))
}

/// Whether a program runs at all, by a question that only needs it to start: its libraries may be missing, or its
/// user may not read it.
///
/// # Errors
/// [`Missing`], which prints as the reason for skipping.
pub fn runs(question: &mut Command) -> Result<(), Missing> {
    match question.output().is_ok_and(|output| output.status.success()) {
        true => Ok(()),
        false => Err(Missing { what: format!("what {question:?} needs"), remedy: "run it to see why" }),
    }
}

/// Sources that were unpacked: the tests of a client, or a client that no one packages.
///
/// # Errors
/// [`Missing`], which prints as the reason for skipping.
pub fn suite(name: &str) -> Result<PathBuf, Missing> {
    let place = folder().join("suites").join(name);
    let absolute = place.canonicalize();
    absolute.map_err(|_| Missing {
        what: format!("the suite {name}"),
        remedy: "`cargo xtask peers --suites` fetches it",
    })
}

/// Whether what takes minutes shall be run, too.
///
/// # Errors
/// [`Missing`], which prints as the reason for skipping.
pub fn all_suites() -> Result<(), Missing> {
    match std::env::var_os("PORTOLAN_SUITES").is_some_and(|word| word == "all") {
        true => Ok(()),
        false => {
            Err(Missing { what: "the word to take minutes".into(), remedy: "PORTOLAN_SUITES=all gives it" })
        }
    }
}

/// A Python that can import all of `modules` (as code names them: `consul`, `websockets`, `grpc`).
///
/// # Errors
/// [`Missing`], which prints as the reason for skipping.
pub fn python(modules: &[&str]) -> Result<PathBuf, Missing> {
    let unpacked = folder().join("venv/bin/python");
    let imports = modules.iter().map(|module| format!("import {module}")).collect::<Vec<_>>().join("\n");
    let can = |python: &Path| {
        Command::new(python).args(["-c", &imports]).output().is_ok_and(|output| output.status.success())
    };
    let host = tool("python3").ok();
    std::iter::once(unpacked)
        .chain(host)
        .find(|python| can(python))
        .ok_or_else(|| Missing::peer(format!("a Python with {}", modules.join(", "))))
}

/// The `portolan` binary: `$PORTOLAN_BIN`, else the one that was built beside this test.
///
/// # Errors
/// [`Missing`] before it was built.
pub fn portolan() -> Result<PathBuf, Missing> {
    let missing = || Missing { what: "the portolan binary".into(), remedy: "`cargo build` makes it" };
    if let Some(path) = std::env::var_os("PORTOLAN_BIN") {
        return Some(PathBuf::from(path)).filter(|path| path.is_file()).ok_or_else(missing);
    }
    let me = std::env::current_exe().map_err(|_| missing())?;
    // target/debug/deps/test-0123 or target/debug/tool
    me.ancestors()
        .skip(1)
        .take(2)
        .map(|place| place.join("portolan"))
        .find(|path| path.is_file())
        .ok_or_else(missing)
}

/// Where peers are unpacked: `$PORTOLAN_PEERS`, else `.cache/peers` of this repository.
pub fn folder() -> PathBuf {
    match std::env::var_os("PORTOLAN_PEERS") {
        Some(folder) if !folder.is_empty() => folder.into(),
        _ => Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.cache/peers")).to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::{python, tool};

    #[test]
    fn what_is_here_is_found_and_what_is_not_says_how_to_skip() {
        assert!(tool("sh").unwrap().ends_with("sh"));
        let missing = tool("no-such-program-anywhere").unwrap_err().to_string();
        assert!(missing.starts_with("skipped: no-such-program-anywhere"), "{missing}");
        assert!(python(&["no_such_module"]).unwrap_err().to_string().starts_with("skipped: a Python with"));
    }
}
