//! py-consul's own test suite, unmodified: a stand-in for the docker package starts our daemon where it asks for
//! containers of Consul (`scripts/docker_stub`), under the name `consul` and with the suite's own flags and files.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::process::Command;

use peers::Missing;
use portolan_conformance::score::Outcomes;
use portolan_conformance::{need, score};

use crate::side_by_side;

/// The suite asks for three versions of Consul; one of them is us. That version's tests, and those that ask for none.
const SELECTED: &str = "not 1.21.5 and not 1.22.0";

/// They sleep more than they work.
const AT_ONCE: usize = 4;

#[test]
fn as_much_of_it_passes_as_ever_did() {
    let suite = need!(Suite::find());
    let mut files = [suite.files_in("tests"), suite.files_in("tests/api")].concat();
    // The two longest first.
    files.sort_by_key(|file| !(file.ends_with("test_health.py") || file.ends_with("test_agent.py")));
    let outcomes = side_by_side(AT_ONCE, &files, |file| suite.run(file));
    if let Err(why) = score::hold("py-consul", &outcomes) {
        panic!("{why}");
    }
}

struct Suite {
    folder: PathBuf,
    python: PathBuf,
    binary: PathBuf,
}

impl Suite {
    fn find() -> Result<Suite, Missing> {
        let modules = ["pytest", "pytest_asyncio", "pytest_cov", "requests", "aiohttp"];
        let (folder, python) = (peers::suite("py-consul")?, peers::python(&modules)?);
        Ok(Suite { folder, python, binary: peers::portolan()? })
    }

    /// Files of tests, below the suite's folder.
    fn files_in(&self, folder: &str) -> Vec<String> {
        let name = |entry: DirEntry| entry.file_name().into_string().unwrap();
        let entries = self.folder.join(folder).read_dir().unwrap();
        let names = entries.map(|entry| name(entry.unwrap()));
        names
            .filter(|name| name.starts_with("test_") && name.ends_with(".py"))
            .map(|name| format!("{folder}/{name}"))
            .collect()
    }

    fn run(&self, file: &str) -> Outcomes {
        let stub = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/docker_stub");
        let output = Command::new(&self.python)
            .args([
                "-m",
                "pytest",
                "-v",
                "-p",
                "no:cacheprovider",
                "--no-cov",
                "--tb=short",
                "-k",
                SELECTED,
                file,
            ])
            .current_dir(&self.folder)
            .env("PYTHONPATH", stub)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PORTOLAN_BIN", &self.binary)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let outcomes: Outcomes = said.lines().filter_map(verdict).collect();
        // Shown when the floor is not held.
        if outcomes.is_empty() || outcomes.values().any(|passed| !passed) {
            println!("{said}{}", String::from_utf8_lossy(&output.stderr));
        }
        outcomes
    }
}

/// `tests/api/test_kv.py::TestKv::test_cas[1.20.6] PASSED [ 12%]`
fn verdict(line: &str) -> Option<(String, bool)> {
    let mut words = line.split_whitespace();
    let (name, word) = (words.next()?, words.next()?);
    let has_passed = match word {
        "PASSED" => true,
        "FAILED" | "ERROR" | "SKIPPED" => false,
        _ => return None,
    };
    Some((name.strip_prefix("tests/")?.to_owned(), has_passed))
}
