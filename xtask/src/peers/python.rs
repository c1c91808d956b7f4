//! Peers from the Python index, in a virtual environment of their own: `.cache/peers/venv`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::table::{Group, Table};
use super::{is_root, quietly};

/// Fetches what is missing; all packages are missing when there is no Python.
pub(super) fn fetch(root: &Path, folder: &Path, table: &Table, groups: &[Group]) -> Vec<String> {
    let wanted: Vec<&str> = table
        .pypi
        .iter()
        .filter(|peer| groups.contains(&peer.group))
        .map(|peer| peer.package.as_str())
        .collect();
    let venv = folder.join("venv");
    let marker = venv.join("portolan-has");
    let has = std::fs::read_to_string(&marker).unwrap_or_default();
    let missing: Vec<&str> =
        wanted.iter().copied().filter(|name| !has.lines().any(|one| one == *name)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    println!("peers: fetching {} (Python index)", missing.join(" "));
    match install(root, folder, &venv, &missing) {
        Ok(()) => {
            let all: Vec<&str> = has.lines().chain(missing).collect();
            if let Err(error) = std::fs::write(&marker, all.join("\n") + "\n") {
                println!("peers: note what was installed: {error}");
            }
            Vec::new()
        }
        Err(error) => {
            println!("peers: {error:#}");
            missing.into_iter().map(str::to_owned).collect()
        }
    }
}

fn install(root: &Path, folder: &Path, venv: &Path, packages: &[&str]) -> Result<()> {
    if !has_python() && is_root() {
        install_python()?;
    }
    let python = venv.join("bin/python");
    let mut pip = Command::new(&python);
    if !python.exists() {
        quietly(Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(venv))
            .context("make a virtual environment")?;
    }
    pip.args(["-m", "pip"]);
    if quietly(Command::new(&python).args(["-m", "ensurepip", "--default-pip"])).is_err() {
        // Debian keeps ensurepip in a package of its own; the wheel alone does, without installing it.
        pip.env("PYTHONPATH", pip_wheel(root, folder)?);
    }
    pip.args(["install", "--quiet", "--no-compile", "--disable-pip-version-check", "--no-input"])
        .args(packages);
    quietly(&mut pip).context("install Python packages")
}

fn has_python() -> bool {
    Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Python itself cannot be unpacked aside: its library's place is compiled in.
fn install_python() -> Result<()> {
    println!("peers: installing python3");
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    quietly(apt().args(["-qq", "update"]))?;
    quietly(apt().args(["-qq", "--yes", "--no-install-recommends", "install", "python3"]))
}

fn pip_wheel(root: &Path, folder: &Path) -> Result<PathBuf> {
    if pip_in(folder).is_none() {
        let mut getdeb = Command::new(root.join("scripts/getdeb"));
        quietly(getdeb.arg("host").arg(folder.join("root")).arg("python3-pip-whl"))
            .context("fetch pip's wheel")?;
    }
    pip_in(folder).context("there is no pip for this Python; install python3-venv")
}

/// pip's wheel among the peers, where Python has no pip of its own to give.
pub(super) fn pip_in(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder.join("root/usr/share/python-wheels")).ok()?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pip-")))
}
