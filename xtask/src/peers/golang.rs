//! Peers that are Go modules: built into `.cache/peers/bin` where there is a Go to build them with.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::quietly;
use super::table::{GoModule, Group, Table};

/// Builds what is missing and returns the tools that still are.
pub(super) fn fetch(folder: &Path, table: &Table, groups: &[Group]) -> Vec<String> {
    let bin = folder.join("bin");
    let wanted =
        table.go.iter().filter(|peer| groups.contains(&peer.group) && !bin.join(&peer.tool).is_file());
    let mut missing = Vec::new();
    for peer in wanted {
        println!("peers: building {} (Go)", peer.tool);
        if let Err(error) = build(&bin, peer) {
            println!("peers: {}: {error:#}", peer.tool);
            missing.push(peer.tool.clone());
        }
    }
    missing
}

fn build(bin: &Path, peer: &GoModule) -> Result<()> {
    ensure!(has_go(), "there is no go; Debian's golang-go brings one");
    std::fs::create_dir_all(bin).with_context(|| format!("make {}", bin.display()))?;
    let mut install = Command::new("go");
    install
        .arg("install")
        .arg(format!("{}@{}", peer.package, peer.version))
        .env("GOBIN", bin)
        .env("CGO_ENABLED", "0");
    quietly(&mut install).context("build it")
}

fn has_go() -> bool {
    Command::new("go").arg("version").output().is_ok_and(|output| output.status.success())
}
