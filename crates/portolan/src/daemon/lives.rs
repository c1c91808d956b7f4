//! How often this node has started, kept in the data directory.
//!
//! Commands are numbered within one life of their node, and instances belong to one. The catalog remembers
//! the lives that it has seen, but a node that was killed may have had commands decided that its own disk had
//! not heard of: were it to count on from there, others would take its new commands for repetitions.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::daemon::file;

const FILE: &str = "lives";

/// The count on disk.
#[derive(Debug)]
pub(crate) struct Lives {
    path: PathBuf,
    count: u64,
}

impl Lives {
    /// Counts another life, durably.
    pub(crate) fn begin(data_dir: &Path) -> anyhow::Result<Lives> {
        let path = data_dir.join(FILE);
        let before = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse::<u64>().with_context(|| {
                format!(
                    "read how often this node has started from {}: {:?} is no number",
                    path.display(),
                    text.trim()
                )
            })?,
            Err(cause) if cause.kind() == ErrorKind::NotFound => 0,
            Err(cause) => return Err(cause).with_context(|| format!("read {}", path.display())),
        };
        let mut lives = Lives { path, count: before };
        lives.advance_to(before + 1)?;
        Ok(lives)
    }

    /// Number of this life, from 1.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The catalog knows of later lives than the file does: it was restored from a backup, or is from before
    /// there was one.
    pub(crate) fn advance_to(&mut self, count: u64) -> anyhow::Result<()> {
        if count > self.count {
            file::replace(&self.path, format!("{count}\n").as_bytes()).with_context(|| {
                format!("save how often this node has started as {}", self.path.display())
            })?;
            self.count = count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_is_another_life() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Lives::begin(folder.path()).unwrap().count(), 1);
        let mut second = Lives::begin(folder.path()).unwrap();
        assert_eq!(second.count(), 2);
        second.advance_to(40).unwrap();
        second.advance_to(7).unwrap();
        assert_eq!(Lives::begin(folder.path()).unwrap().count(), 41);
    }

    #[test]
    fn a_count_that_does_not_read_is_not_guessed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "many").unwrap();
        let error = format!("{:#}", Lives::begin(folder.path()).unwrap_err());
        assert!(error.contains("\"many\" is no number"), "{error}");
    }
}
