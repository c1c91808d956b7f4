//! py-consul's own test suite, unmodified: a stand-in for the docker package starts our daemon where it asks for
//! containers of Consul (`scripts/docker_stub`).
//!
//! The suite is in the source distribution only. To run it: `pip download --no-binary :all: --no-deps py-consul`,
//! unpack it, and name the folder in `PORTOLAN_PY_CONSUL`.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::path::Path;
use std::process::Command;

use portolan_conformance::need;

/// Fewer passed tests than this are a step back. The suite asks for three versions of Consul; one of them is us.
const FLOOR: usize = 120;
/// That version's tests, and those that ask for none.
const SELECTED: &str = "not 1.21.5 and not 1.22.0";

#[test]
fn as_much_of_it_passes_as_ever_did() {
    let Some(suite) = std::env::var_os("PORTOLAN_PY_CONSUL") else {
        return println!("skipped: PORTOLAN_PY_CONSUL does not name py-consul's sources");
    };
    let python = need!(peers::python(&["pytest", "pytest_asyncio", "requests", "aiohttp"]));
    let binary = need!(peers::portolan());
    let stub = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/docker_stub");
    let output = Command::new(python)
        .args([
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--no-cov",
            "--tb=line",
            "-k",
            SELECTED,
            "tests",
        ])
        .current_dir(&suite)
        .env("PYTHONPATH", stub)
        .env("PORTOLAN_BIN", binary)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().rev().find(|line| line.contains(" passed")).unwrap_or_default();
    println!("py-consul's suite: {last}");
    let before = last.split(" passed").next().unwrap_or_default();
    let passed = before.rsplit(' ').next().and_then(|count| count.parse::<usize>().ok()).unwrap_or(0);
    assert!(passed >= FLOOR, "{passed} passed, and {FLOOR} did before:\n{said}");
}
