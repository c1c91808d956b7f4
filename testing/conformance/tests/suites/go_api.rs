//! The tests of HashiCorp's own client library for Go, unmodified: they start a program that is called `consul`.

use std::path::Path;
use std::process::Command;

use portolan_conformance::score::Outcomes;
use portolan_conformance::{need, score};

use crate::side_by_side;

/// Each is a process of its own, because one that panics would take all others with it.
const AT_ONCE: usize = 4;

#[test]
fn as_much_of_it_passes_as_ever_did() {
    need!(peers::all_suites());
    let suite = need!(peers::suite("consul-api"));
    let go = need!(peers::tool("go"));
    let binary = need!(peers::portolan());
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(binary, folder.path().join("consul")).unwrap();
    let program = folder.path().join("api.test");
    let mut build = Command::new(go);
    build.args(["test", "-c", "-mod=mod", "-o"]).arg(&program).current_dir(&suite);
    let built = build.status().unwrap();
    assert!(built.success(), "{build:?}: {built}");
    let listed = Command::new(&program).args(["-test.list", "."]).current_dir(&suite).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let tests: Vec<&str> = listed.lines().filter(|line| line.starts_with("Test")).collect();
    let outcomes = side_by_side(AT_ONCE, &tests, |test| {
        Outcomes::from([((*test).to_owned(), passes(&program, &suite, folder.path(), test))])
    });
    if let Err(why) = score::hold("go-api", &outcomes) {
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
    let said = String::from_utf8_lossy(&output.stdout);
    let has_passed = output.status.success() && said.contains(&format!("--- PASS: {test} "));
    if !has_passed {
        println!("{said}");
    }
    has_passed
}
