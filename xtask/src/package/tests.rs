//! A package of the binary at hand, looked at as an installer and a service manager would.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::make;

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|cause| panic!("{command:?}: {cause}"))
}

fn text(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// A folder of this test, gone with it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn a_package_holds_what_an_operator_needs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let binary = target.join("debug/portolan");
    if !binary.exists() || !has("dpkg-deb") {
        println!("skipped: needs dpkg-deb and a built {}", binary.display());
        return;
    }
    let folder = Folder(target.join(format!("tmp/package-{}", std::process::id())));
    let made = make(root, &binary, &folder.0, false).unwrap();

    let field = |name: &str| text(Command::new("dpkg-deb").arg("--field").arg(&made.package).arg(name));
    assert!(field("Depends").starts_with("libc6 (>= 2."), "{}", field("Depends"));
    let list = text(Command::new("dpkg-deb").arg("--contents").arg(&made.package));
    for path in [
        "./usr/bin/portolan",
        "./usr/lib/systemd/system/portolan.service",
        "./usr/share/man/man1/portolan.1.gz",
        "./usr/share/man/man1/portolan-register.1.gz",
        "./usr/share/doc/portolan/getting-started.md",
        "./usr/share/doc/portolan/copyright",
    ] {
        let line = list.lines().find(|line| line.ends_with(path)).unwrap_or_else(|| panic!("no {path}"));
        assert!(line.contains("root/root"), "{line}");
    }
    let archive = text(Command::new("tar").arg("--list").arg("--file").arg(&made.archive));
    assert!(archive.contains("-linux/usr/bin/portolan\n") && !archive.contains("DEBIAN"), "{archive}");

    let unpacked = folder.0.join("unpacked");
    text(Command::new("dpkg-deb").arg("--extract").arg(&made.package).arg(&unpacked));
    let installed = unpacked.join("usr/bin/portolan");
    let config = unpacked.join("etc/portolan/portolan.toml");
    text(Command::new(&installed).args(["check-config", "--offline", "--config"]).arg(config));
    for script in ["postinst", "prerm", "postrm"] {
        text(Command::new("sh").arg("-n").arg(root.join("packaging").join(script)));
    }
    the_unit_is_understood(&unpacked);
}

/// What systemd says of the unit, in the tree where its program is.
fn the_unit_is_understood(unpacked: &Path) {
    if !has("systemd-analyze") {
        println!("skipped: no systemd-analyze to read the unit");
        return;
    }
    let unit = unpacked.join("usr/lib/systemd/system/portolan.service");
    let words = std::fs::read_to_string(&unit).unwrap();
    let program = format!("{}/usr/bin/portolan", unpacked.display());
    std::fs::write(&unit, words.replace("/usr/bin/portolan", &program)).unwrap();
    let verdict = output(
        Command::new("systemd-analyze").args(["verify", "--man=no", "--recursive-errors=no"]).arg(&unit),
    );
    let said = String::from_utf8_lossy(&verdict.stderr);
    let ours: Vec<_> = said.lines().filter(|line| line.contains("portolan.service")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}
