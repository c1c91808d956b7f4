//! rs-consul's own tests, unmodified: they speak to whatever Consul is at the address that they are told, with access
//! control lists as its file has them.

use std::process::Command;

use peers::Running;
use portolan_conformance::score::Outcomes;
use portolan_conformance::{LIMIT, need, score};

#[test]
fn as_much_of_it_passes_as_ever_did() {
    need!(peers::all_suites());
    let suite = need!(peers::suite("rs-consul"));
    let [cargo, curl] = [need!(peers::tool("cargo")), need!(peers::tool("curl"))];
    let binary = need!(peers::portolan());
    let folder = tempfile::tempdir().unwrap();
    let consul = folder.path().join("consul");
    std::os::unix::fs::symlink(binary, &consul).unwrap();
    let port = peers::reserve_port().unwrap();
    let address = format!("http://127.0.0.1:{port}");
    let mut agent = Command::new(&consul);
    agent
        .args(["agent", "-dev", "-enable-local-script-checks", "-dns-port=-1"])
        .arg(format!("-http-port={port}"));
    agent.arg(format!("-config-file={}", suite.join("testdata/config.hcl").display()));
    let mut agent = Running::start(&mut agent).unwrap();
    let leader = format!("{address}/v1/status/leader");
    let answers =
        || Command::new(&curl).args(["-sf", &leader]).output().is_ok_and(|said| said.status.success());
    agent.wait_until(LIMIT, "an answer", answers).unwrap();

    let output = Command::new(cargo)
        .args(["test", "--no-fail-fast", "--lib", "--tests", "--", "--test-threads", "1"])
        .current_dir(&suite)
        .env("CARGO_TARGET_DIR", suite.join("target"))
        .env("CONSUL_HTTP_ADDR", &address)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let outcomes: Outcomes = said.lines().filter_map(verdict).collect();
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    if let Err(why) = score::hold("rs-consul", &outcomes) {
        panic!("{why}");
    }
}

/// `test tests::create_and_read_key ... ok`
fn verdict(line: &str) -> Option<(String, bool)> {
    let (name, word) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some((name.to_owned(), word.starts_with("ok")))
}
