//! `cargo xtask bench`: builds what is measured and what measures, fetches the peers, and measures.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

/// Passes everything on to `testing/bench`, which explains its own options.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<ExitCode> {
    let portolan = root.join("target/release/portolan");
    // Who only asks for help is not to wait for a quarter of an hour.
    if !args.iter().any(|arg| arg == "--help" || arg == "-h") {
        crate::peers::fetch_for_benchmarks(root);
        build(root, &["build", "--release", "--locked", "--package", "portolan"])?;
    }
    let mut bench = cargo(root);
    bench.args(["run", "--quiet", "--profile", "fast", "--locked", "--package", "portolan-bench", "--"]);
    bench.arg("--portolan").arg(portolan).args(args);
    crate::peers::point_to(root, &mut bench);
    let status = bench.status().context("run portolan-bench")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build(root: &Path, args: &[&str]) -> Result<()> {
    let status = cargo(root).args(args).status().context("run cargo build")?;
    ensure!(status.success(), "the release binary could not be built");
    Ok(())
}

fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo.current_dir(root);
    cargo
}
