//! Debian's vip-manager: an address of its host comes and goes with a key that a session of ours holds, as Patroni's
//! leader does.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use peers::Running;
use portolan_netns::{Daemon, Host, LIMIT, Lab, Start, need};
use serde_json::json;

const ADDRESS: &str = "10.90.0.200";
const KEY: &str = "service/harbour/leader";

#[test]
fn an_address_goes_with_the_lock() {
    let program = need!(peers::tool("vip-manager"));
    let lab = need!(Lab::new(&["a"]));
    let host = &lab.hosts[0];
    let folder = tempfile::tempdir().unwrap();
    let daemon = need!(Start::new(host, folder.path().join("data"))).run().unwrap();
    let session = session(&daemon);
    let put = |how: &str, name: &str| {
        assert_eq!(daemon.put(&format!("/v1/kv/{KEY}?{how}={session}"), name).unwrap().trim(), "true");
    };
    put("acquire", "b");

    let mut command = host.command(program);
    command.args(["--dcs-type", "consul", "--dcs-endpoints", "http://127.0.0.1:8500", "--interval", "100"]);
    command.args(["--trigger-key", KEY, "--trigger-value", "a"]);
    command.args(["--ip", ADDRESS, "--netmask", "24", "--interface", "eth0"]);
    let mut manager = Running::start(&mut command).unwrap();
    let mut until = |what, wanted| manager.wait_until(LIMIT, what, || has_address(host) == wanted).unwrap();
    put("acquire", "a");
    until("the address of who has the lock", true);
    put("release", "");
    until("the address to be gone with the lock", false);
    put("acquire", "a");
    until("the address to be back", true);
    // As Patroni's session does when its node dies; the key itself goes.
    assert_eq!(daemon.put(&format!("/v1/session/destroy/{session}"), "").unwrap().trim(), "true");
    until("the address to be gone with the session", false);
}

fn session(daemon: &Daemon) -> String {
    let wish = json!({ "Name": "harbour-a", "TTL": "10m", "Behavior": "delete", "LockDelay": "0s" });
    let answer = daemon.put("/v1/session/create", &wish.to_string()).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["ID"].as_str().unwrap().to_owned()
}

fn has_address(host: &Host) -> bool {
    let output = host.command("ip").args(["-4", "-o", "address", "show", "dev", "eth0"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains(ADDRESS)
}
