//! The tests of HashiCorp's own client library for Go, unmodified: they start a program that is called `consul`.
//!
//! To run it: `go mod download github.com/hashicorp/consul/api@v1.35.0` and `…/consul/sdk`, copy both folders out of
//! the module cache, have `go.mod` of the first `replace` the second, and name the first in `PORTOLAN_GO_API`.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use portolan_conformance::{need, score};

/// Each is a process of its own, because one that panics would take all others with it.
const AT_ONCE: usize = 4;

#[test]
fn as_much_of_it_passes_as_ever_did() {
    let Some(suite) = std::env::var_os("PORTOLAN_GO_API") else {
        return println!(
            "skipped: PORTOLAN_GO_API does not name the sources of Consul's client library for Go"
        );
    };
    let go = need!(peers::tool("go"));
    let binary = need!(peers::portolan());
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(binary, folder.path().join("consul")).unwrap();
    let program = folder.path().join("api.test");
    let built =
        Command::new(go).args(["test", "-c", "-o"]).arg(&program).current_dir(&suite).status().unwrap();
    assert!(built.success(), "go test -c: {built}");
    let listed = Command::new(&program).args(["-test.list", "."]).current_dir(&suite).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let tests: Vec<&str> = listed.lines().filter(|line| line.starts_with("Test")).collect();
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(score::Outcomes::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let has_passed = passes(&program, Path::new(&suite), folder.path(), test);
                    outcomes.lock().unwrap().insert((*test).to_owned(), has_passed);
                }
            });
        }
    });
    if let Err(why) = score::hold("go-api", &outcomes.into_inner().unwrap()) {
        panic!("{why}");
    }
}

/// A test that is skipped has not passed.
fn passes(program: &Path, suite: &Path, folder: &Path, test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path)));
    let only = format!("^{test}$");
    let output = Command::new(program)
        .args(["-test.v", "-test.timeout", "60s", "-test.run", &only])
        .current_dir(suite)
        .env("PATH", path.unwrap())
        .output()
        .unwrap();
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains(&format!("--- PASS: {test} "))
}
