//! Public names by a program of one's own: it is told on its standard input what a name shall be.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::watch;

use super::http::text;
use super::{BoxFuture, Key, NameError, Owner, Provider, Rdata};

/// Longest that one call may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Most of its last words that is kept.
const WORDS: usize = 400;

/// Such a program. A call that its caller no longer waits for goes on to its end: one that takes longer than names are
/// waited for would otherwise be begun again and again, and never have its way.
pub struct Exec {
    command: Vec<String>,
    owner: Owner,
    ttl: Duration,
    calls: Mutex<BTreeMap<Key, Call>>,
}

/// The last call for a name.
#[derive(Clone)]
struct Call {
    told: String,
    /// `None` while it runs.
    result: watch::Receiver<Option<Result<(), NameError>>>,
}

impl Exec {
    /// Nothing is run yet. The program is the first word; it gets one JSON object:
    /// `{"action": "set"|"remove", "name", "type", "values", "ttl", "owner"}`, and says no by a status that is not
    /// zero, with why on its standard error. Twice the same must be as once. There is never more than one call for a
    /// name at a time.
    pub fn new(command: Vec<String>, owner: Owner, ttl: Duration) -> Exec {
        Exec { command, owner, ttl, calls: Mutex::default() }
    }

    async fn run(&self, action: &str, key: &Key, values: &BTreeSet<Rdata>) -> Result<(), NameError> {
        let values: Vec<String> = values.iter().map(text).collect();
        let told = json!({
            "action": action, "name": &*key.0, "type": key.1.word(), "values": values,
            "ttl": self.ttl.as_secs(), "owner": self.owner.word(),
        });
        let told = told.to_string();
        loop {
            let call = self.call(key, &told);
            let result = call.end().await;
            self.forget(key, &call);
            if call.told == told {
                return result;
            }
        }
    }

    /// The call that is under way for a name, or a new one.
    fn call(&self, key: &Key, told: &str) -> Call {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.entry(key.clone()).or_insert_with(|| Call::begin(self.command.clone(), told.to_owned())).clone()
    }

    /// What has ended is not waited for again.
    fn forget(&self, key: &Key, ended: &Call) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.get(key).is_some_and(|call| call.result.same_channel(&ended.result)) {
            calls.remove(key);
        }
    }
}

impl Call {
    fn begin(command: Vec<String>, told: String) -> Call {
        let (sender, result) = watch::channel(None);
        let words = told.clone();
        tokio::spawn(async move { sender.send_replace(Some(run(&command, &words).await)) });
        Call { told, result }
    }

    async fn end(&self) -> Result<(), NameError> {
        let mut result = self.result.clone();
        let lost = || NameError::Silent("the call was lost".into());
        let ended = result.wait_for(Option::is_some).await;
        ended.map_or_else(|_| Err(lost()), |result| result.clone().unwrap_or_else(|| Err(lost())))
    }
}

async fn run(command: &[String], told: &str) -> Result<(), NameError> {
    let Some((program, arguments)) = command.split_first() else {
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
                drop(stdin.write_all(told.as_bytes()).await);
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

    #[tokio::test]
    async fn a_slow_call_is_not_begun_again_and_the_next_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let (gate, log) = (folder.path().join("gate"), folder.path().join("log"));
        let script = format!(
            "while read -r line || [ -n \"$line\" ]; do echo \"$line\" >>{log}; done; until [ -e {gate} ]; do sleep 0.02; done",
            log = log.display(),
            gate = gate.display()
        );
        let command = vec!["/bin/sh".into(), "-c".into(), script];
        let exec = Exec::new(command, Owner::new("house").unwrap(), Duration::from_secs(60));
        let key: Key = ("www.example.org".into(), NameKind::A);
        let lines = || std::fs::read_to_string(&log).unwrap_or_default();
        for _ in 0..3 {
            // Whoever asks gives up each time once it has begun.
            let begun = async {
                while lines().is_empty() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            tokio::select! {
                result = exec.remove(&key) => panic!("{result:?}"),
                () = begun => {}
            }
        }
        assert_eq!(lines().lines().count(), 1, "{}", lines());
        let values = [Rdata::A([45, 83, 0, 1].into())].into();
        let open = async { std::fs::write(&gate, "").unwrap() };
        let (set, ()) = tokio::join!(exec.set(&key, &values), open);
        set.unwrap();
        let said: Vec<bool> = lines().lines().map(|line| line.contains("remove")).collect();
        assert_eq!(said, [true, false], "{}", lines());
    }
}
