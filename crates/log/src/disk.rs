//! The few things that an engine asks of a disk, behind a trait, so that a simulated one can fail on cue.
//!
//! One [`Disk`] is one flat directory. Nothing here retries: what a failed sync leaves behind is unknown,
//! and the caller stops.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::LogError;

/// Name of the lock file. It stays behind; what counts is the kernel's lock on it.
const LOCK: &str = "lock";

/// Random access reading.
pub trait ReadAt {
    /// Bytes in the file.
    ///
    /// # Errors
    /// The system's.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buf` from `offset` as far as the file goes; answers how many bytes that were.
    ///
    /// # Errors
    /// The system's; a short file is none.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
}

/// One open file.
pub trait DiskFile: ReadAt + Send {
    /// Allocates and sizes the file to `bytes`, so that later writes below need no space.
    ///
    /// # Errors
    /// The system's, above all a full disk.
    fn reserve(&mut self, bytes: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. Durable after the next successful [`DiskFile::sync`].
    ///
    /// # Errors
    /// The system's. Part of it may have been written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written durable: `fdatasync`.
    ///
    /// # Errors
    /// The system's. Never retried: after a failure the kernel may call dirty pages clean.
    fn sync(&mut self) -> io::Result<()>;
}

/// One directory of files.
pub trait Disk: Send + Sync + 'static {
    /// Takes the directory for this process until the answer is dropped.
    ///
    /// # Errors
    /// [`LogError::InUse`] when another holds it.
    fn lock(&self) -> Result<Box<dyn Send + Sync>, LogError>;

    /// Names of all files, in no order.
    ///
    /// # Errors
    /// The system's.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens an existing file.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Makes an empty file, in place of any of that name.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Renames, in place of any file called `to`.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes one file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals so far durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_dir(&self) -> io::Result<()>;

    /// How to call a file (or, for `""`, the directory) in a message.
    fn path(&self, name: &str) -> String;
}

/// A directory of the host's file system.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Opens `path`, making it (readable by its owner alone) where it is absent.
    ///
    /// # Errors
    /// [`LogError::Io`] when it cannot be made.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let io = |attempted| {
            let path = path.display().to_string();
            move |cause| LogError::io(attempted, path, cause)
        };
        let absent = !path.is_dir();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io("create directory"))?;
        if absent && let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            File::open(parent).and_then(|dir| dir.sync_all()).map_err(io("sync the parent of"))?;
        }
        Ok(Self { path: path.to_owned() })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Disk for Directory {
    fn lock(&self) -> Result<Box<dyn Send + Sync>, LogError> {
        let io = |attempted, cause| LogError::io(attempted, self.path(LOCK), cause);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(self.at(LOCK)).map_err(|e| io("open", e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let read = (&file).take(20).read_to_string(&mut pid);
                let known = read.is_ok() && !pid.trim().is_empty();
                let pid = if known { pid.trim().to_owned() } else { "unknown".to_owned() };
                return Err(LogError::InUse { path: self.path(LOCK), pid });
            }
            Err(TryLockError::Error(cause)) => return Err(io("lock", cause)),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|e| io("write", e))?;
        Ok(Box::new(file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for found in fs::read_dir(&self.path)? {
            // What is not UTF-8 is not ours.
            names.extend(found?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(self.at(name))?))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        Ok(Box::new(options.open(self.at(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.at(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn path(&self, name: &str) -> String {
        if name.is_empty() { self.path.display().to_string() } else { self.at(name).display().to_string() }
    }
}

impl ReadAt for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match FileExt::read_at(self, &mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }
}

impl DiskFile for File {
    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        use rustix::io::Errno;
        match rustix::fs::fallocate(&*self, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            // A file system without allocation in advance: sized, and allocated as it is written.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.set_len(bytes),
            Err(e) => Err(e.into()),
        }
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Bytes in memory are readable as a file: what the decoders are tested and fuzzed with.
impl ReadAt for &[u8] {
    fn size(&self) -> io::Result<u64> {
        Ok((**self).len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min((**self).len());
        let rest = &self[from..];
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}
