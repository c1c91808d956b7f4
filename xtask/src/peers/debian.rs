//! Peers that Debian packages: unpacked by `scripts/getdeb` into one tree, with a door to each in `bin/`.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::quietly;
use super::table::{Debian, Group, Table};

/// Where executables stand in a Debian tree.
const PLACES: [&str; 4] = ["usr/bin", "usr/sbin", "bin", "sbin"];

/// Fetches what is missing and returns the tools that still are.
pub(super) fn fetch(root: &Path, folder: &Path, table: &Table, groups: &[Group]) -> Vec<String> {
    let wanted = table.debian.iter().filter(|peer| groups.contains(&peer.group) && !peer.is_here(folder));
    let mut by_suite: BTreeMap<&str, Vec<&Debian>> = BTreeMap::new();
    for peer in wanted {
        by_suite.entry(peer.suite()).or_default().push(peer);
    }
    let mut missing = Vec::new();
    for (suite, peers) in by_suite {
        if let Err(error) = unpack(root, folder, suite, &peers) {
            println!("peers: {error:#}");
        }
        missing.extend(peers.iter().flat_map(|peer| peer.link(folder)));
    }
    missing
}

/// All at once, since each call refreshes the package lists; one by one when that fails, so that a package
/// which is not to be had costs only itself.
fn unpack(root: &Path, folder: &Path, suite: &str, peers: &[&Debian]) -> Result<()> {
    let names: Vec<&str> = peers.iter().map(|peer| peer.package.as_str()).collect();
    println!("peers: fetching {} ({suite})", names.join(" "));
    let getdeb = |names: &[&str]| {
        let mut command = Command::new(root.join("scripts/getdeb"));
        quietly(command.arg(suite).arg(folder.join(tree(suite))).args(names))
    };
    let Err(first) = getdeb(&names) else { return Ok(()) };
    if names.len() == 1 {
        return Err(first);
    }
    for name in &names {
        if let Err(error) = getdeb(&[name]) {
            println!("peers: {name}: {error:#}");
        }
    }
    Ok(())
}

/// Each release has a tree of its own: libraries of two in one place would shadow each other.
fn tree(suite: &str) -> String {
    if suite == "host" { "root".into() } else { format!("root-{suite}") }
}

impl Debian {
    fn suite(&self) -> &str {
        self.suite.as_deref().unwrap_or("host")
    }

    fn is_here(&self, folder: &Path) -> bool {
        self.files.iter().all(|file| self.has_file(folder, file))
            && self.tools.iter().all(|tool| {
                let is_ours = leads_into(&folder.join("bin").join(tool), &tree(self.suite()));
                is_ours || (self.suite.is_none() && on_host(tool).is_some())
            })
    }

    /// Unpacked, or the host's own: `scripts/getdeb` leaves out what the host has installed.
    fn has_file(&self, folder: &Path, file: &str) -> bool {
        let is_host = self.suite.is_none() && Path::new("/").join(file).exists();
        is_host || folder.join(tree(self.suite())).join(file).exists()
    }

    /// Makes the doors and returns the tools and files that are nowhere.
    fn link(&self, folder: &Path) -> Vec<String> {
        let tree = tree(self.suite());
        let is_missing = |file: &&String| !self.has_file(folder, file);
        let mut missing: Vec<String> = self.files.iter().filter(is_missing).cloned().collect();
        for tool in &self.tools {
            let unpacked = PLACES.iter().map(|place| Path::new(&tree).join(place).join(tool));
            match unpacked.into_iter().find(|path| folder.join(path).exists()) {
                Some(path) => {
                    if let Err(error) = door(folder, &tree, tool, &path) {
                        println!("peers: {tool}: {error:#}");
                        missing.push(tool.clone());
                    }
                }
                None if on_host(tool).is_some() && self.suite.is_none() => {}
                None => missing.push(tool.clone()),
            }
        }
        missing
    }
}

/// True when a door leads into a tree: one of another release stays behind when the table asks for a new one.
fn leads_into(door: &Path, tree: &str) -> bool {
    let to = match std::fs::read_link(door) {
        Ok(target) => target.to_string_lossy().into_owned(),
        Err(_) => std::fs::read_to_string(door).unwrap_or_default(),
    };
    door.exists() && to.contains(&format!("/{tree}/"))
}

/// A symbolic link, or a script that names the unpacked libraries when the host lacks some. The script is
/// replaced by the program (`exec`), so that its process id is the program's.
fn door(folder: &Path, tree: &str, tool: &str, program: &Path) -> Result<()> {
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).with_context(|| format!("make {}", bin.display()))?;
    let place = bin.join(tool);
    if place.symlink_metadata().is_ok() {
        std::fs::remove_file(&place).with_context(|| format!("replace {}", place.display()))?;
    }
    if has_its_libraries(&folder.join(program)) {
        let target = Path::new("..").join(program);
        return symlink(&target, &place).with_context(|| format!("link {}", place.display()));
    }
    let libraries = libraries(folder, tree)?;
    let libraries =
        libraries.iter().map(|path| format!("$here/{}", path.display())).collect::<Vec<_>>().join(":");
    let script = format!(
        "#!/bin/sh\nhere=$(dirname \"$0\")/..\nexport LD_LIBRARY_PATH=\"{libraries}\"\nexec \"$here/{}\" \"$@\"\n",
        program.display()
    );
    std::fs::write(&place, script).with_context(|| format!("write {}", place.display()))?;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&place, mode).with_context(|| format!("make {} executable", place.display()))
}

/// Asks the dynamic loader. A static program has nothing to miss.
fn has_its_libraries(program: &Path) -> bool {
    let Ok(output) = Command::new("ldd").arg(program).output() else { return true };
    !String::from_utf8_lossy(&output.stdout).contains("not found")
}

/// Folders of the tree that hold shared libraries, relative to the peers' folder.
fn libraries(folder: &Path, tree: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for place in ["usr/lib", "lib"].map(|place| Path::new(tree).join(place)) {
        let Ok(entries) = std::fs::read_dir(folder.join(&place)) else { continue };
        for entry in entries {
            let name = entry.context("list the unpacked libraries")?.file_name();
            // Debian's multiarch folders: x86_64-linux-gnu, aarch64-linux-gnu.
            if name.to_string_lossy().ends_with("-linux-gnu") {
                found.push(place.join(name));
            }
        }
    }
    Ok(found)
}

/// A tool of the host's own; administrators' folders count, although PATH may lack them.
fn on_host(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    places.map(|place| place.join(tool)).find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_into_another_release_is_none() {
        let folder = std::env::temp_dir().join(format!("portolan-doors-{}", std::process::id()));
        for place in ["bin", "root/usr/bin", "root-bullseye/usr/bin"] {
            std::fs::create_dir_all(folder.join(place)).unwrap();
        }
        let here = |suite: Option<&str>| {
            let suite = suite.map_or(String::new(), |suite| format!("suite = \"{suite}\"\n"));
            let row =
                format!("package = \"p\"\n{suite}tools = [\"no-such-tool\"]\nfor = \"test\"\nwhy = \"x\"");
            toml::from_str::<Debian>(&row).unwrap().is_here(&folder)
        };
        assert!(!here(None));
        let door = folder.join("bin/no-such-tool");
        std::fs::write(folder.join("root/usr/bin/no-such-tool"), "").unwrap();
        symlink(Path::new("..").join(tree("host")).join("usr/bin/no-such-tool"), &door).unwrap();
        assert!(here(None) && !here(Some("bullseye")), "a changed release is noticed");
        std::fs::remove_file(&door).unwrap();
        std::fs::write(&door, "exec \"$here/root-bullseye/usr/bin/no-such-tool\"").unwrap();
        assert!(!here(None) && here(Some("bullseye")), "in a script, too");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
