//! `cargo xtask peers`: other people's programs, unpacked under `.cache/peers` for the tests to talk to.
//!
//! Nothing is installed where unpacking will do, so that no package's start script brings up a service and
//! no root is needed. What cannot be had is said, and its tests are skipped; this never fails a build.

mod debian;
mod golang;
mod python;
mod suites;
mod table;

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};

use table::{Group, Table};

/// Where tests look for peers; `.cache/peers` when it is not set.
const VARIABLE: &str = "PORTOLAN_PEERS";

/// `all`: tests also run what takes minutes.
const SUITES: &str = "PORTOLAN_SUITES";

const USAGE: &str = "cargo xtask peers [--bench | --suites]

  --bench    also what only the benchmarks need
  --suites   also clients and suites of theirs that take minutes to build; PORTOLAN_SUITES=all runs them

Fetches what xtask/peers.toml lists into .cache/peers, or $PORTOLAN_PEERS.";

/// The command: failure when something could not be had.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<ExitCode> {
    let groups: &[Group] = match args {
        [] => &[Group::Test],
        [flag] if flag == "--bench" => &[Group::Test, Group::Bench],
        [flag] if flag == "--suites" => &[Group::Test, Group::Suites],
        [flag] if flag == "--help" || flag == "-h" => {
            println!("{USAGE}");
            return Ok(ExitCode::SUCCESS);
        }
        other => anyhow::bail!("does not take {other:?}\n\n{USAGE}"),
    };
    let missing = fetch(root, groups)?;
    Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Before a test run: what cannot be had leads to skipped tests, not to a failure.
pub(crate) fn fetch_for_tests(root: &Path) {
    let all = std::env::var_os(SUITES).is_some_and(|word| word == "all");
    fetch_what_can_be_had(root, if all { &[Group::Test, Group::Suites] } else { &[Group::Test] });
}

/// Before measuring: a group without its peer says so itself.
pub(crate) fn fetch_for_benchmarks(root: &Path) {
    fetch_what_can_be_had(root, &[Group::Test, Group::Bench]);
}

fn fetch_what_can_be_had(root: &Path, groups: &[Group]) {
    if let Err(error) = fetch(root, groups) {
        println!("peers: {error:#}; what needs them will be skipped");
    }
}

/// Lets a child find the peers: by the variable, and on its PATH before the host's own.
pub(crate) fn point_to(root: &Path, command: &mut Command) {
    let folder = folder(root);
    let mut path: OsString = folder.join("bin").into();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    command.env(VARIABLE, folder).env("PATH", path);
}

/// Fetches what is not there yet and returns the names of what is still missing.
fn fetch(root: &Path, groups: &[Group]) -> Result<Vec<String>> {
    let begin = Instant::now();
    let table = Table::read(root)?;
    let folder = folder(root);
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    // Two runs in one clone take turns; the lock ends with the file.
    let lock = File::create(folder.join("lock")).context("make the lock file of the peers")?;
    lock.lock().context("wait for another run to fetch peers")?;

    let mut missing = debian::fetch(root, &folder, &table, groups);
    missing.extend(python::fetch(root, &folder, &table, groups));
    missing.extend(golang::fetch(&folder, &table, groups));
    missing.extend(suites::fetch(&folder, &table, groups));
    for name in &missing {
        println!("peers: no {name}; tests that need it will be skipped");
    }
    println!("peers: looked after in {:.1} s, in {}", begin.elapsed().as_secs_f32(), folder.display());
    Ok(missing)
}

fn folder(root: &Path) -> PathBuf {
    match std::env::var_os(VARIABLE) {
        Some(folder) if !folder.is_empty() => folder.into(),
        _ => root.join(".cache/peers"),
    }
}

/// Runs a helper program; its last words are the error.
fn quietly(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("run {name}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it failed without a word");
    anyhow::bail!("{name}: {}", last.trim())
}

/// Whether this process may change the host.
fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uid.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}
