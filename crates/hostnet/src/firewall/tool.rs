//! Runs a firewall program: text in, text out, its last words as the error.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Longest that one call may take; they wait for each other's lock for 5 s.
const LIMIT: Duration = Duration::from_secs(15);
/// Most of what a program said that is kept in an error.
const WORDS: usize = 600;

/// A firewall program that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not installed.
    #[error("{0} is not installed")]
    Missing(&'static str),
    /// It could not be run.
    #[error("run {program}")]
    Run {
        /// Its path.
        program: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It took too long.
    #[error("{0} did not end within 15 s")]
    Hung(String),
    /// It refused.
    #[error("{program} refused: {said}")]
    Refused {
        /// Its path and arguments.
        program: String,
        /// Its last words.
        said: String,
    },
}

/// Finds a program as a shell would; administrators' folders count although PATH may lack them.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    places.map(|place| place.join(name)).find(|candidate| candidate.is_file())
}

/// Runs it; what it printed when it succeeded.
pub(crate) async fn run(program: &Path, args: &[&str], input: &str) -> Result<String, ToolError> {
    let named = || format!("{} {}", program.display(), args.join(" "));
    let failed = |cause| ToolError::Run { program: named(), cause };
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().map_err(failed)?;
    let stdin = child.stdin.take();
    let exchange = async {
        let write = async {
            // One that ends without reading says why on the other stream.
            if let Some(mut stdin) = stdin {
                drop(stdin.write_all(input.as_bytes()).await);
            }
        };
        tokio::join!(write, child.wait_with_output()).1
    };
    let output = tokio::time::timeout(LIMIT, exchange).await.map_err(|_| ToolError::Hung(named()))?;
    let output = output.map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(WORDS).collect();
    Err(ToolError::Refused { program: named(), said })
}
