//! The directory that a node lives in. One process at a time has it.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

const LOCK: &str = "lock";
/// The socket that programs on this host ask through.
const SOCKET: &str = "api.sock";
/// Longest path of a Unix socket (`sun_path` of unix(7), without the NUL at its end).
const MAX_SOCKET_PATH: usize = 107;

/// A data directory that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
    _lock: File,
}

impl Home {
    /// Makes the directory where there is none, and keeps others out of it.
    ///
    /// # Errors
    /// When it cannot be made, or another process has it: which.
    pub(crate) fn claim(dir: &Path) -> anyhow::Result<Home> {
        let mut make = fs::DirBuilder::new();
        make.recursive(true).mode(0o700);
        make.create(dir).with_context(|| {
            format!("make the data directory {} (choose another with --data-dir)", dir.display())
        })?;
        let path = dir.join(LOCK);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = options.open(&path).with_context(|| format!("open {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Only a hint: whoever has it may not have written it yet.
                let _ = (&lock).take(20).read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() { "unknown" } else { pid.trim() };
                bail!(
                    "{} is in use by another process (pid {pid}); stop it, or choose another --data-dir",
                    dir.display()
                );
            }
            Err(TryLockError::Error(cause)) => {
                return Err(cause).with_context(|| format!("lock {}", path.display()));
            }
        }
        let written = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        written.with_context(|| format!("write to {}", path.display()))?;
        Ok(Home { dir: dir.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// The Unix socket of the node that lives in `dir`; none where its path would be too long for one.
pub(crate) fn socket(dir: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(dir).ok()?.join(SOCKET);
    (path.as_os_str().len() <= MAX_SOCKET_PATH).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_has_one_master() {
        let folder = tempfile::tempdir().unwrap();
        let first = Home::claim(&folder.path().join("data")).unwrap();
        let error = Home::claim(first.dir()).unwrap_err().to_string();
        assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
        let dir = first.dir().to_owned();
        drop(first);
        Home::claim(&dir).unwrap();
    }

    #[test]
    fn a_path_that_is_too_long_for_a_socket_gets_none() {
        assert!(socket(Path::new("/var/lib/portolan")).is_some());
        assert_eq!(socket(Path::new(&format!("/{}", "x".repeat(120)))), None);
    }
}
