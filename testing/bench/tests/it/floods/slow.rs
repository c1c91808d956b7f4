//! Slow clients of the kind that everybody tests against: Debian's slowhttptest, a thousand connections of each.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::sleep;

use crate::daemon::Ports;

/// Runs it again and again until it is stopped.
async fn run(http: SocketAddr, path: &str, arguments: &[&str]) {
    let tool = match peers::tool("slowhttptest") {
        Ok(tool) => tool,
        Err(missing) => {
            println!("{missing}");
            return std::future::pending().await;
        }
    };
    let url = format!("http://{http}{path}");
    loop {
        let mut command = Command::new(&tool);
        command.args(["-c", "1000", "-r", "500", "-l", "3600", "-u", &url]).args(arguments);
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).status().await;
        sleep(Duration::from_millis(100)).await;
    }
}

/// Heads that never end, a line every second.
pub(super) async fn slowhttptest_heads(ports: Ports) {
    run(ports.http, "/", &["-H", "-i", "1", "-x", "24"]).await;
}

/// Bodies that never end.
pub(super) async fn slowhttptest_bodies(ports: Ports) {
    run(ports.http, "/", &["-B", "-i", "1", "-s", "1000000", "-x", "24"]).await;
}

/// Answers that are taken 32 bytes at a time, through a window of some hundreds.
pub(super) async fn slowhttptest_readers(ports: Ports) {
    let arguments = ["-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "32", "-k", "3"];
    run(ports.http, "/large", &arguments).await;
}
