//! `ipcd` as the seed types it.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::support::{PROGRAM, clean};

/// An authority, and a certificate of its for every host.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(folder.join("ca"), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for name in ["example.com", "pong.example.com", "ruled.example"] {
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.join(format!("{name}.crt")), made.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[test]
fn the_seeds_command_lines_and_networks_do_what_it_says() {
    let has = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let can = has(Command::new("unshare").args(["-n", "-m", "ip", "link", "set", "lo", "up"]));
    if !can || !has(Command::new("python3").arg("--version")) {
        println!("skipped: no network namespace, or no python3");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let hosts = "127.0.0.1 localhost example.com\n127.0.0.2 pong.example.com\n127.0.0.3 ruled.example\n";
    std::fs::write(folder.path().join("hosts"), hosts).unwrap();
    std::fs::create_dir(folder.path().join("bin")).unwrap();
    symlink(PROGRAM, folder.path().join("bin/ipcd")).unwrap();
    certificates(folder.path());
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("timeout");
    clean(&mut command)
        .args(["-k", "10", "120", "unshare", "-n", "-m", "sh"])
        .arg(here.join("tests/it/ipcd.sh"));
    command.env("T", folder.path()).env("PORTOLAN", PROGRAM);
    command.env("LIBIPC", here.join("../broker/tests/it/python/libipc.py"));
    // A file: whoever is left over would keep a pipe open.
    let said = folder.path().join("said");
    let out = std::fs::File::create(&said).unwrap();
    let status = command.stdout(out.try_clone().unwrap()).stderr(out).status().unwrap();
    let said = std::fs::read_to_string(&said).unwrap();
    assert!(status.success() && said.ends_with("all of it\n"), "{said}");
}
