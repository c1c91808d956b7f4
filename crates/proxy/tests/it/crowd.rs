//! Ten thousand idle connections cost memory, not service.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::echo::echo;
use crate::harness::{Harness, Instance};
use crate::http::{get, named_mirror};

/// Resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn idle_connections_do_not_disturb() {
    // Client, both sides of the proxy, and server are all in this process: four descriptors each.
    let limit = sys::process::raise_descriptor_limit().unwrap();
    let crowd = (limit.saturating_sub(500) / 4).min(10_000) as usize;
    if crowd < 1000 {
        println!("skipped: only {limit} descriptors may be open");
        return;
    }
    let (server, web) = (echo("").await, named_mirror("").await);
    let harness = Harness::start().await;
    harness.register("idle", Instance::at(server.address));
    harness.register("web", Instance::at(web.address));
    let before = resident();
    let mut held = Vec::with_capacity(crowd);
    for _ in 0..crowd {
        let mut client = TcpStream::connect(harness.named).await.unwrap();
        client.write_all(b"idle\nx").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'x');
        held.push(client);
    }
    let each = (resident() - before) as f64 / crowd as f64;
    println!(
        "{crowd} idle connections through the proxy, {each:.1} KiB resident each, client and server included"
    );
    let mut stream = TcpStream::connect(harness.http).await.unwrap();
    for _ in 0..100 {
        assert_eq!(get(&mut stream, "web", "/").await.0, 200);
    }
    for client in held.iter_mut().step_by(97) {
        client.write_all(b"y").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'y');
    }
    drop(held);
    harness.stop().await;
}
