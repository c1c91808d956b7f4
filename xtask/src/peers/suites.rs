//! What is there in sources only: the tests of clients. Unpacked under `.cache/peers/suites`, each by its registry's
//! own client.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::quietly;
use super::table::{Group, Registry, Suite, Table};

/// Says which version a folder holds.
const MARKER: &str = ".portolan-has";

/// Fetches what is missing and returns what still is.
pub(super) fn fetch(folder: &Path, table: &Table, groups: &[Group]) -> Vec<String> {
    let mut missing = Vec::new();
    for suite in table.suite.iter().filter(|suite| groups.contains(&suite.group)) {
        let place = folder.join("suites").join(&suite.name);
        if suite.is_in(&place) {
            continue;
        }
        println!("peers: fetching {} {}", suite.package, suite.version);
        if let Err(error) = suite.unpack(folder, &place) {
            println!("peers: {}: {error:#}", suite.name);
            missing.push(suite.name.clone());
        }
    }
    missing
}

impl Suite {
    fn is_in(&self, place: &Path) -> bool {
        std::fs::read_to_string(place.join(MARKER)).is_ok_and(|version| version.trim() == self.version)
    }

    /// In a folder beside, which takes its place when it is whole.
    fn unpack(&self, folder: &Path, place: &Path) -> Result<()> {
        let fresh = place.with_extension("new");
        for old in [&fresh, &place.to_path_buf()] {
            if old.exists() {
                std::fs::remove_dir_all(old).with_context(|| format!("remove {}", old.display()))?;
            }
        }
        std::fs::create_dir_all(&fresh).with_context(|| format!("make {}", fresh.display()))?;
        match self.from {
            Registry::Python => self.unpack_python(folder, &fresh)?,
            Registry::Go => self.unpack_go(&fresh)?,
            Registry::Rust => self.unpack_rust(&fresh)?,
        }
        std::fs::write(fresh.join(MARKER), &self.version).context("note the version")?;
        std::fs::rename(&fresh, place).with_context(|| format!("put {} in place", place.display()))
    }

    /// pip makes sure of what it downloads by asking the package for its name, which takes what builds it.
    fn unpack_python(&self, folder: &Path, fresh: &Path) -> Result<()> {
        let wanted = format!("{}=={}", self.package, self.version);
        let mut pip = Command::new(folder.join("venv/bin/python"));
        pip.args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            "--no-deps",
        ]);
        pip.args(["--no-binary", ":all:", "--no-build-isolation", "--dest"]).arg(fresh).arg(wanted);
        // pip itself may be a wheel on the path only.
        if let Some(wheel) = super::python::pip_in(folder) {
            pip.env("PYTHONPATH", wheel);
        }
        quietly(&mut pip).context("download its sources")?;
        let archive = only_entry(fresh)?;
        let mut tar = Command::new("tar");
        quietly(tar.args(["--strip-components", "1", "-xzf"]).arg(&archive).arg("-C").arg(fresh))?;
        std::fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))
    }

    /// A copy that may be written to: Go's own is for reading only.
    fn unpack_go(&self, fresh: &Path) -> Result<()> {
        let wanted = format!("{}@{}", self.package, self.version);
        let output = Command::new("go")
            .args(["mod", "download", "-json", &wanted])
            .current_dir(fresh)
            .output()
            .context("run go")?;
        let module: Downloaded = serde_json::from_slice(&output.stdout).context("read what go downloaded")?;
        let from =
            module.dir.with_context(|| module.error.unwrap_or_else(|| "go has no folder of it".into()))?;
        copy(&from, fresh)?;
        for module in &self.beside {
            let drop = format!("-dropreplace={module}");
            quietly(Command::new("go").args(["mod", "edit", &drop]).current_dir(fresh))?;
        }
        Ok(())
    }

    /// Cargo has no word for it: a package that wants it makes cargo fetch it and say where it is.
    fn unpack_rust(&self, fresh: &Path) -> Result<()> {
        let asking = fresh.join("asking");
        std::fs::create_dir_all(asking.join("src")).context("make a package")?;
        std::fs::write(asking.join("src/lib.rs"), "").context("make a package")?;
        let manifest = format!(
            "[package]\nname = \"asking\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
             {} = \"={}\"\n\n[workspace]\n",
            self.package, self.version
        );
        std::fs::write(asking.join("Cargo.toml"), manifest).context("make a package")?;
        let output = Command::new("cargo")
            .args(["metadata", "--format-version", "1"])
            .current_dir(&asking)
            .output()
            .context("run cargo metadata")?;
        let told: Metadata = serde_json::from_slice(&output.stdout).context("read what cargo says")?;
        let package = told.packages.into_iter().find(|package| package.name == self.package);
        let manifest = package.context("cargo does not know it")?.manifest_path;
        std::fs::remove_dir_all(&asking).context("remove the package that asked")?;
        copy(manifest.parent().context("a manifest is in a folder")?, fresh)?;
        // It lies below a workspace that it is no part of.
        let mut whole = std::fs::OpenOptions::new().append(true).open(fresh.join("Cargo.toml"))?;
        whole.write_all(b"\n[workspace]\n").context("end the manifest")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    dir: Option<PathBuf>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let mut entries = std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    Ok(entries.next().context("nothing was downloaded")??.path())
}

/// Everything in a folder into another, which may be written to afterwards.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut cp = Command::new("cp");
    quietly(cp.args(["-R", "--no-preserve=mode"]).arg(from.join(".")).arg(to))
}
