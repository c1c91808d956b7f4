//! `cargo xtask fuzz-replay`: the fuzz targets on the stable toolchain.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

/// Passes everything on to `testing/fuzz-replay`, which explains its own options.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<ExitCode> {
    let status = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(["run", "--quiet", "--locked", "--package", "portolan-fuzz-replay", "--"])
        .args(args)
        .current_dir(root)
        .status()
        .context("run portolan-fuzz-replay")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
