//! `cargo xtask package`: what an operator installs: a Debian package with a systemd unit, the manual and
//! completions, and an archive of the same files for hosts of other kinds.

mod control;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use tree::Tree;

const USAGE: &str = "cargo xtask package [--binary FILE] [--out DIR] [--uncompressed]

  --binary FILE    package this binary; without it the release binary is built
  --out DIR        where the results go (target/package)
  --uncompressed   quick to make, large to keep";

/// What was asked for.
struct Options {
    binary: Option<PathBuf>,
    out: PathBuf,
    compressed: bool,
}

/// What was made.
pub(crate) struct Made {
    pub(crate) package: PathBuf,
    pub(crate) archive: PathBuf,
}

/// The command.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<ExitCode> {
    let Some(options) = Options::parse(root, args)? else {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    };
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(root)?,
    };
    let made = make(root, &binary, &options.out, options.compressed)?;
    println!("{}\n{}", made.package.display(), made.archive.display());
    Ok(ExitCode::SUCCESS)
}

impl Options {
    /// None when help was asked for.
    fn parse(root: &Path, args: &[String]) -> Result<Option<Options>> {
        let mut options = Options { binary: None, out: root.join("target/package"), compressed: true };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().map(PathBuf::from).with_context(|| format!("{arg} takes a path"));
            match arg.as_str() {
                "--binary" => options.binary = Some(value()?),
                "--out" => options.out = value()?,
                "--uncompressed" => options.compressed = false,
                "--help" | "-h" => return Ok(None),
                other => bail!("does not take {other:?}\n\n{USAGE}"),
            }
        }
        Ok(Some(options))
    }
}

fn build(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--release", "--locked", "--package", "portolan"]);
    finish(&mut command)?;
    Ok(root.join("target/release/portolan"))
}

/// Packs `binary` and what goes with it.
///
/// # Errors
/// A binary that does not run, and programs (`dpkg-deb`, `tar`, `gzip`) that fail or are missing: which.
pub(crate) fn make(root: &Path, binary: &Path, out: &Path, compressed: bool) -> Result<Made> {
    let version = version(binary)?;
    let machine = Machine::here()?;
    let staged = out.join("root");
    if staged.exists() {
        fs::remove_dir_all(&staged).with_context(|| format!("empty {}", staged.display()))?;
    }
    let tree = Tree::fill(root, binary, &staged)?;
    let stem = format!("portolan-{version}-{}-linux", machine.name);
    let archive = out.join(format!("{stem}.tar{}", if compressed { ".gz" } else { "" }));
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--auto-compress").arg("--file").arg(&archive);
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg(format!("--transform=s,^\\.,{stem},")).arg("--directory").arg(&staged).arg(".");
    finish(&mut tar)?;

    control::write(root, &tree, binary, &version, machine.debian)?;
    let package = out.join(format!("portolan_{version}_{}.deb", machine.debian));
    let mut deb = Command::new("dpkg-deb");
    deb.args(["--root-owner-group", if compressed { "-Zxz" } else { "-Znone" }, "--build"]);
    finish(deb.arg(&staged).arg(&package))?;
    fs::remove_dir_all(&staged).with_context(|| format!("remove {}", staged.display()))?;
    Ok(Made { package, archive })
}

/// What the machine is called.
struct Machine {
    name: &'static str,
    debian: &'static str,
}

impl Machine {
    fn here() -> Result<Machine> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Machine { name: "x86_64", debian: "amd64" }),
            "aarch64" => Ok(Machine { name: "aarch64", debian: "arm64" }),
            other => bail!("no package for {other}: name it in xtask/src/package/mod.rs"),
        }
    }
}

/// What the binary says it is, as `portolan 0.1.0`.
fn version(binary: &Path) -> Result<String> {
    let said = finish(Command::new(binary).arg("--version"))?;
    let version = said.split_whitespace().nth(1);
    Ok(version.with_context(|| format!("{} says no version", binary.display()))?.to_owned())
}

/// Runs it to its end; what it printed.
fn finish(command: &mut Command) -> Result<String> {
    let output = command.stderr(std::process::Stdio::inherit()).output();
    let output = output.with_context(|| format!("start {}", command.get_program().to_string_lossy()))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests;
