//! `cargo xtask test`: fetches the peers, builds once, runs every test, and closes with one honest line.
//!
//! A test that cannot run where it is prints `skipped: why` and passes; the harness would hide that line, so
//! the tests run with their output shown, and [`report`] keeps of it what a reader needs. All of it is kept
//! in `target/xtask/test.log`.

mod again;
mod report;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitCode, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};

use again::Failures;
use report::Report;

const USAGE: &str = "cargo xtask test [--fast] [-- FILTER]

  --fast   only the crates' own tests, with fewer repetitions; no peers are fetched";

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    fast: bool,
    filter: Vec<String>,
}

/// Runs the tests; failure when one failed or nothing could be built.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<ExitCode> {
    let Some(options) = Options::parse(args)? else {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    };
    if !options.fast {
        crate::peers::fetch_for_tests(root);
    }
    let begin = Instant::now();
    let built = build(root, &options)?;
    println!("built in {} s", begin.elapsed().as_secs());
    if !built {
        println!("0 passed, 0 failed, 0 skipped");
        return Ok(ExitCode::FAILURE);
    }
    let (mut report, green, failures) = test(root, &options)?;
    let green = green || (failures.worth_another() && once_more(root, &failures, &mut report)?);
    print!("{}", report.remarks());
    println!("ran in {} s; all output is in target/xtask/test.log", begin.elapsed().as_secs());
    println!("{report}");
    Ok(if green && report.is_green() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Options {
    /// None when help was asked for.
    fn parse(args: &[String]) -> Result<Option<Self>> {
        let mut options = Options::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--fast" => options.fast = true,
                "--help" | "-h" => return Ok(None),
                "--" => options.filter = args.by_ref().cloned().collect(),
                other => anyhow::bail!("no such option: {other}\n\n{USAGE}"),
            }
        }
        Ok(Some(options))
    }
}

/// `cargo test` over the same packages every time, so that building and running agree on features.
fn cargo_test(root: &Path, options: &Options) -> Command {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo.args(["test", "--workspace", "--locked"]).current_dir(root);
    if options.fast {
        cargo.env("PORTOLAN_TEST_FAST", "1");
        for package in suites(root) {
            cargo.args(["--exclude", &package]);
        }
    }
    crate::peers::point_to(root, &mut cargo);
    cargo
}

/// Packages under `testing/`, by the rule that a package there is called `portolan-` and its folder.
fn suites(root: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.join("testing")) else { return Vec::new() };
    let folders =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.join("Cargo.toml").exists());
    folders.filter_map(|path| Some(format!("portolan-{}", path.file_name()?.to_str()?))).collect()
}

fn build(root: &Path, options: &Options) -> Result<bool> {
    let status = cargo_test(root, options).arg("--no-run").status().context("run cargo test --no-run")?;
    Ok(status.success())
}

/// Runs what was built, passing on its output as it comes.
fn test(root: &Path, options: &Options) -> Result<(Report, bool, Failures)> {
    let mut cargo = cargo_test(root, options);
    cargo.args(["--no-fail-fast", "--", "--show-output"]).args(&options.filter);
    let mut child = cargo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("run cargo test")?;
    let errors = child.stderr.take().context("cargo's errors are a pipe")?;
    let errors = thread::spawn(|| failed_targets(errors));
    let (report, mut failures) = follow(root, &mut child)?;
    let status = child.wait().context("wait for cargo test")?;
    failures.targets = errors.join().unwrap_or_default().targets;
    Ok((report, status.success(), failures))
}

/// Passes on cargo's standard error and keeps which targets it says failed.
fn failed_targets(errors: ChildStderr) -> Failures {
    let mut failures = Failures::default();
    for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        eprintln!("{line}");
        failures.error_line(&line);
    }
    failures
}

fn follow(root: &Path, child: &mut Child) -> Result<(Report, Failures)> {
    let folder = root.join("target/xtask");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let mut log = File::create(folder.join("test.log")).context("make target/xtask/test.log")?;
    let output = child.stdout.take().context("cargo's output is a pipe")?;
    let (mut report, mut failures) = (Report::default(), Failures::default());
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("read cargo's output")?;
        let line = String::from_utf8_lossy(&line);
        writeln!(log, "{line}").context("write target/xtask/test.log")?;
        failures.line(&line);
        if report.line(&line) {
            println!("{line}");
        }
    }
    Ok((report, failures))
}

/// Runs the failed tests again, by themselves; true when every one of them passed, which the report then says.
fn once_more(root: &Path, failures: &Failures, report: &mut Report) -> Result<bool> {
    println!("running what failed once more, by itself");
    for target in &failures.targets {
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
        cargo.args(["test", "--locked"]).args(target).current_dir(root);
        crate::peers::point_to(root, &mut cargo);
        let status =
            cargo.args(["--", "--exact"]).args(&failures.tests).status().context("run cargo test")?;
        if !status.success() {
            return Ok(false);
        }
    }
    report.unsteady(&failures.tests);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn options() {
        let parse = |args: &[&str]| Options::parse(&args.iter().map(ToString::to_string).collect::<Vec<_>>());
        let expected = Options { fast: true, filter: vec!["name".into()] };
        assert_eq!(parse(&["--fast", "--", "name"]).unwrap(), Some(expected));
        assert!(parse(&["--fats"]).is_err());
    }
}
