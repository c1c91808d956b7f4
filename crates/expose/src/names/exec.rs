//! Public names by a program of one's own: it is told on its standard input what a name shall be.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::http::text;
use super::{BoxFuture, Key, NameError, Owner, Provider, Rdata};

/// Longest that one call may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Most of its last words that is kept.
const WORDS: usize = 400;

/// Such a program.
pub struct Exec {
    command: Vec<String>,
    owner: Owner,
    ttl: Duration,
}

impl Exec {
    /// Nothing is run yet. The program is the first word; it gets one JSON object:
    /// `{"action": "set"|"remove", "name", "type", "values", "ttl", "owner"}`, and says no by a status that is not
    /// zero, with why on its standard error. Twice the same must be as once.
    pub fn new(command: Vec<String>, owner: Owner, ttl: Duration) -> Exec {
        Exec { command, owner, ttl }
    }

    async fn run(&self, action: &str, key: &Key, values: &BTreeSet<Rdata>) -> Result<(), NameError> {
        let values: Vec<String> = values.iter().map(text).collect();
        let told = json!({
            "action": action, "name": &*key.0, "type": key.1.word(), "values": values,
            "ttl": self.ttl.as_secs(), "owner": self.owner.word(),
        });
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(NameError::Refused("no program is named".into()));
        };
        let failed = |cause: std::io::Error| NameError::Silent(format!("run {program}: {cause}"));
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().map_err(failed)?;
        let stdin = child.stdin.take();
        let exchange = async {
            let write = async {
                // One that ends without reading says why on the other stream.
                if let Some(mut stdin) = stdin {
                    drop(stdin.write_all(told.to_string().as_bytes()).await);
                }
            };
            tokio::join!(write, child.wait_with_output()).1
        };
        let late = |_| NameError::Silent(format!("{program} did not end within {LIMIT:?}"));
        let output = tokio::time::timeout(LIMIT, exchange).await.map_err(late)?.map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let said: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(WORDS).collect();
        Err(NameError::Refused(format!("{program} ended with {}: {said}", output.status)))
    }
}

impl Provider for Exec {
    fn set<'a>(&'a self, key: &'a Key, values: &'a BTreeSet<Rdata>) -> BoxFuture<'a, Result<(), NameError>> {
        Box::pin(self.run("set", key, values))
    }

    fn remove<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<(), NameError>> {
        Box::pin(async move { self.run("remove", key, &BTreeSet::new()).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wish::NameKind;

    #[tokio::test]
    async fn the_program_is_told_and_its_no_is_passed_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("told").display().to_string();
        let owner = Owner::new("house").unwrap();
        let key: Key = ("www.example.org".into(), NameKind::A);
        let values = [Rdata::A([45, 83, 0, 1].into())].into();
        let shell = |script: String| vec!["/bin/sh".into(), "-c".into(), script];
        let exec = Exec::new(shell(format!("cat >{file}")), owner.clone(), Duration::from_secs(60));
        exec.set(&key, &values).await.unwrap();
        let told: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(
            told,
            json!({"action": "set", "name": "www.example.org", "type": "A", "values": ["45.83.0.1"],
                   "ttl": 60, "owner": "house"})
        );
        let exec = Exec::new(shell("echo quota >&2; exit 3".into()), owner, Duration::from_secs(60));
        let error = exec.remove(&key).await.unwrap_err().to_string();
        assert!(error.contains("quota"), "{error}");
    }
}
