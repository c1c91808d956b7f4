//! Original clients, spoken for by a program in another language that knows the original's bytes and
//! nothing of ours.

mod support;

use std::process::Command;

use netsel::{NetSelConfig, NetSelServer};
use support::{Program, in_own_network};

#[test]
fn an_original_client_registers_renews_and_is_reached() {
    if !in_own_network("an_original_client_registers_renews_and_is_reached") {
        return;
    }
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3");
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Short, so that the script sees a service go that stopped to send heartbeats.
    let config = NetSelConfig { health_check_interval: 1, max_heartbeat_age: 3, ..NetSelConfig::default() };
    let server = NetSelServer::with_config(config);
    runtime.block_on(server.start()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/original_client.py");
    let (status, lines) = Program::start(Command::new("python3").arg("-u").arg(script)).end();
    assert!(status.success(), "{status}: {lines:#?}");
    assert_eq!(lines.last().map(String::as_str), Some("all as in the original, and better"));
    runtime.block_on(server.stop()).unwrap();
}
