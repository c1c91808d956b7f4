//! Ten thousand idle connections cost memory, not service.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "test code; a skipped test says so")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use common::Server;

const CONNECTIONS: usize = 10_000;
/// Beside the connections: the server's own, and those of the test.
const SPARE: u64 = 200;
const ADDRESS: &str = "PORTOLAN_TEST_IDLE_ADDRESS";

/// Both ends in one process would need twice the descriptors, which are more than many hosts allow: the clients
/// live in a child. Run by itself this does nothing.
#[test]
fn child() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    sys::process::raise_descriptor_limit().expect("descriptors");
    let open = (0..CONNECTIONS).map(|_| TcpStream::connect(&address).expect("connects")).collect::<Vec<_>>();
    println!("open");
    std::io::stdout().flush().expect("heard");
    // Until the parent has seen enough.
    let _ = std::io::stdin().read(&mut [0]);
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_keep_others_from_being_served() {
    let allowed = sys::process::raise_descriptor_limit().expect("descriptors");
    if allowed < CONNECTIONS as u64 + SPARE {
        println!(
            "skipped: {allowed} open files are allowed, this needs {CONNECTIONS} and some: raise `ulimit -Hn`"
        );
        return;
    }
    let server = Server::start().await;
    let before = resident_bytes();
    let mut clients = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child", "--nocapture"])
        .env(ADDRESS, server.address.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Nobody reads its standard output once it is done, which its test harness complains of.
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let said = BufReader::new(clients.stdout.take().expect("piped"));
    let opened = tokio::task::spawn_blocking(move || {
        said.lines().map_while(Result::ok).any(|line| line.ends_with("open"))
    });
    assert!(opened.await.expect("read"), "the clients are there");
    until(async || server.connections() >= CONNECTIONS as i64).await;

    assert_eq!(server.put("/v1/kv/a", "still served").await.status, 200);
    assert_eq!(server.get("/v1/kv/a?raw").await.body, "still served");
    let each = resident_bytes().saturating_sub(before) / CONNECTIONS as u64;
    println!("{each} bytes for each idle connection");
    assert!(each < 16 << 10, "{each} bytes for each idle connection");

    drop(clients.stdin.take());
    // How it ends is its own affair: nobody reads what it says any more.
    clients.wait().expect("ends");
    until(async || server.connections() == 0).await;
}

/// Polls until it holds.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..6000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(holds().await, "it never came to be");
}

/// Memory of this process, in bytes.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
