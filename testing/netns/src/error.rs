//! What stands in the way of a test, and what fails in it.

use std::io;
use std::path::Path;
use std::process::Command;

/// Why a test cannot run here. Its text is the line that a test prints and returns.
#[derive(Debug, Clone, thiserror::Error)]
#[error("skipped: {0}")]
pub struct Missing(pub String);

impl From<peers::Missing> for Missing {
    fn from(missing: peers::Missing) -> Missing {
        Missing(missing.to_string().trim_start_matches("skipped: ").to_owned())
    }
}

/// Something that should have worked and did not.
#[derive(thiserror::Error)]
pub enum Failure {
    /// A command of the host's.
    #[error("{command}: {said}")]
    Command {
        /// The command line.
        command: String,
        /// What it printed, or why it did not start.
        said: String,
    },
    /// The operating system.
    #[error("{what}")]
    Io {
        /// What was attempted.
        what: String,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// A daemon that did not become ready or said something unexpected.
    #[error("{0}")]
    Daemon(String),
}

/// Lines as lines: tests fail with it by `unwrap`, and the words of daemons are long.
impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")?;
        let cause = std::error::Error::source(self);
        cause.map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}

impl Failure {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
        let what = what.into();
        move |cause| Failure::Io { what, cause }
    }
}

/// Runs a command of the host's to its end; what it printed.
pub(crate) fn run(program: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let fail = |said: String| Failure::Command {
        command: format!("{} {}", program.display(), arguments.join(" ")),
        said,
    };
    let output = Command::new(program).args(arguments).output().map_err(|cause| fail(cause.to_string()))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(fail(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
