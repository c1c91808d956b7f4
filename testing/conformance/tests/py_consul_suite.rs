//! py-consul's own test suite, unmodified: a stand-in for the docker package starts our daemon where it asks for
//! containers of Consul (`scripts/docker_stub`), under the name `consul` and with the suite's own flags and files.
//!
//! The suite is in the source distribution only. To run it: `pip download --no-binary :all: --no-deps py-consul`,
//! unpack it, and name the folder in `PORTOLAN_PY_CONSUL`.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::path::Path;
use std::process::Command;

use portolan_conformance::{need, score};

/// The suite asks for three versions of Consul; one of them is us. That version's tests, and those that ask for none.
const SELECTED: &str = "not 1.21.5 and not 1.22.0";

#[test]
fn as_much_of_it_passes_as_ever_did() {
    let Some(suite) = std::env::var_os("PORTOLAN_PY_CONSUL") else {
        return println!("skipped: PORTOLAN_PY_CONSUL does not name py-consul's sources");
    };
    let python = need!(peers::python(&["pytest", "pytest_asyncio", "requests", "aiohttp"]));
    let binary = need!(peers::portolan());
    let stub = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/docker_stub");
    let options =
        ["-m", "pytest", "-v", "-p", "no:cacheprovider", "--no-cov", "--tb=short", "-k", SELECTED, "tests"];
    let output = Command::new(python)
        .args(options)
        .current_dir(&suite)
        .env("PYTHONPATH", stub)
        .env("PORTOLAN_BIN", binary)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // `tests/api/test_kv.py::TestKv::test_cas[1.20.6] PASSED [ 12%]`
    let verdict = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, word) = (words.next()?, words.next()?);
        let has_passed = match word {
            "PASSED" => true,
            "FAILED" | "ERROR" | "SKIPPED" => false,
            _ => return None,
        };
        Some((name.strip_prefix("tests/")?.to_owned(), has_passed))
    };
    let outcomes = said.lines().filter_map(verdict).collect();
    if let Err(why) = score::hold("py-consul", &outcomes) {
        panic!("{why}\n{said}");
    }
}
