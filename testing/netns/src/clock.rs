//! A wall clock that is wrong, for one process.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::error::{Failure, Missing};

/// Linux's time namespaces leave the wall clock alone, so a few lines of C stand between the daemon and its C
/// library; the same way as `libfaketime`, but able to jump while the daemon runs.
const SOURCE: &str = include_str!("../preload/clock.c");

/// A clock that a daemon can be started with.
#[derive(Debug)]
pub struct Clock {
    folder: TempDir,
    offset: File,
}

impl Clock {
    /// A clock that is right.
    ///
    /// # Errors
    /// No C compiler: a reason to skip.
    pub fn new() -> Result<Clock, Missing> {
        let compiler = peers::tool("cc")?;
        Clock::build(&compiler).map_err(|failure| Missing(format!("a clock cannot be made here: {failure}")))
    }

    fn build(compiler: &PathBuf) -> Result<Clock, Failure> {
        let folder = tempfile::tempdir().map_err(Failure::io("make a folder for a clock"))?;
        let fail = |cause: std::io::Error| Failure::Daemon(format!("compile the clock: {cause}"));
        let mut child = Command::new(compiler)
            .args(["-shared", "-fPIC", "-O1", "-x", "c", "-", "-ldl", "-o"])
            .arg(folder.path().join("clock.so"))
            .stdin(Stdio::piped())
            .spawn()
            .map_err(fail)?;
        child.stdin.take().map_or(Ok(()), |mut input| input.write_all(SOURCE.as_bytes())).map_err(fail)?;
        let status = child.wait().map_err(fail)?;
        if !status.success() {
            return Err(Failure::Daemon(format!("the compiler refused the clock: {status}")));
        }
        let offset = File::create(folder.path().join("offset")).map_err(fail)?;
        offset.write_all_at(&[0; 8], 0).map_err(fail)?;
        Ok(Clock { folder, offset })
    }

    /// Makes a command run by this clock.
    pub fn give_to(&self, command: &mut Command) {
        command.env("LD_PRELOAD", self.folder.path().join("clock.so"));
        command.env("PORTOLAN_LAB_CLOCK", self.folder.path().join("offset"));
    }

    /// Sets it: off by so many seconds from now on.
    ///
    /// # Errors
    /// The file that the daemon looks at cannot be written.
    pub fn set_offset_s(&self, seconds: i64) -> Result<(), Failure> {
        self.offset.write_all_at(&seconds.to_ne_bytes(), 0).map_err(Failure::io("set a clock"))
    }
}
