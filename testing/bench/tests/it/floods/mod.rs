//! Attacks on one daemon, one after the other: its memory stays bounded, and others are served meanwhile.
//!
//! Only when asked for, because it takes the whole machine; it prints a table. Attackers give way to the daemon and to
//! those who measure it, so that what others wait is the daemon's doing and not the attacker's:
//!
//! ```text
//! PORTOLAN_BIN=target/release/portolan PORTOLAN_FLOOD_SECONDS=10 \
//!     cargo test -p portolan-bench --test it floods -- --nocapture
//! ```

mod frames;
mod http;
mod other;
mod slow;

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::{sleep, timeout};

use crate::daemon::{Daemon, Ports, put};
use crate::mixed::backends::{Backend, Kind};
use crate::mixed::clients::answer;

/// How much more memory all attacks may cost: the largest keeps thousands of answers from being taken.
const MOST_KIB: u64 = 192 * 1024;
/// Longest that others may wait.
const LIMIT: Duration = Duration::from_secs(30);
/// Tasks that attack at once.
const ATTACKERS: usize = 2;

type Attack = fn(Ports) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// A name for each attack, in the words of `http` and `other`.
macro_rules! attacks {
    ($($module:ident::$name:ident,)*) => {
        [$((stringify!($name), (|ports| Box::pin($module::$name(ports))) as Attack)),*]
    };
}

#[test]
fn others_are_served_under_attack() {
    let program = match peers::portolan() {
        Ok(program) => program,
        Err(missing) => return println!("{missing}"),
    };
    if std::env::var_os("PORTOLAN_FLOOD_SECONDS").is_none() {
        return println!(
            "skipped: it takes the whole machine; PORTOLAN_FLOOD_SECONDS says how long each attack lasts"
        );
    }
    let _alone = crate::alone();
    let time = crate::seconds("PORTOLAN_FLOOD_SECONDS", 1);
    let daemon = Daemon::start(&program, settings);
    let attackers = runtime(ATTACKERS, || {
        let _ = rustix::process::nice(19);
    });
    runtime(1, || {}).block_on(attack_all(&daemon, attackers.handle(), time));
    attackers.shutdown_background();
}

fn runtime(threads: usize, each: fn()) -> Runtime {
    Builder::new_multi_thread().worker_threads(threads).on_thread_start(each).enable_all().build().unwrap()
}

fn settings(ports: Ports) -> String {
    let Ports { http, tcp, udp, .. } = ports;
    format!(
        "[proxy]\nnamed = []\nudp_idle_timeout = \"1s\"\nname_timeout = \"1s\"\nmax_udp_sessions_per_address = 200\n\
         [[proxy.tcp]]\nlisten = \"{tcp}\"\nservice = \"web\"\naccept_proxy = [\"127.0.0.1\"]\n[[proxy.udp]]\n\
         listen = \"{udp}\"\nservice = \"pong\"\n[proxy.http]\nlisten = [\"{http}\"]\nhead_timeout = \"2s\"\n\
         stall_timeout = \"2s\"\nidle_timeout = \"2s\"\n\
         [[proxy.http.routes]]\nhost = \"127.0.0.1\"\nservice = \"web\"\n"
    )
}

async fn attack_all(daemon: &Daemon, attackers: &Handle, time: Duration) {
    let (web, pong) = (Backend::start(Kind::Web).await, Backend::start(Kind::Pong).await);
    for (service, backend) in [("web", &web), ("pong", &pong)] {
        let port = backend.address.port();
        let body = format!("{{\"Name\":\"{service}\",\"Address\":\"127.0.0.1\",\"Port\":{port}}}");
        put(daemon.ports.api, "/v1/agent/service/register", &body).await;
    }
    let attacks: [(&str, Attack); 21] = attacks![
        http::rapid_reset,
        http::made_you_reset,
        http::data_after_the_end,
        http::continuation,
        http::empty_continuation,
        http::settings,
        http::pings,
        http::priorities,
        http::empty_data,
        http::hpack_bomb,
        http::shut_windows,
        http::slow_heads,
        http::slow_bodies,
        http::slow_readers,
        other::proxy_lies,
        other::pointer_loops,
        other::spoofed,
        other::sessions,
        slow::slowhttptest_heads,
        slow::slowhttptest_bodies,
        slow::slowhttptest_readers,
    ];
    println!(
        "{:22} {:>7} {:>10} {:>9} {:>11} {:>11} {:>6}",
        "", "others", "99 of 100", "slowest", "memory", "afterwards", "CPU"
    );
    let calm = under(daemon, attackers, "(calm)", None, time).await;
    for (name, attack) in attacks {
        let held = under(daemon, attackers, name, Some(attack), time).await;
        assert!(held < calm + MOST_KIB, "{name}: {held} KiB after {calm} KiB");
    }
}

/// Attacks for a while, and serves others; what memory there is at the end.
async fn under(
    daemon: &Daemon,
    attackers: &Handle,
    name: &str,
    attack: Option<Attack>,
    time: Duration,
) -> u64 {
    let attackers: Vec<_> = attack
        .iter()
        .flat_map(|attack| (0..ATTACKERS).map(|_| attackers.spawn(attack(daemon.ports))))
        .collect();
    let over = Arc::new(AtomicBool::new(false));
    let others = tokio::spawn(others(daemon.ports, over.clone()));
    let (begin, cpu) = (Instant::now(), daemon.cpu_ms());
    sleep(time).await;
    let cpu = (daemon.cpu_ms() - cpu) as f64 / begin.elapsed().as_millis() as f64 * 100.0;
    let held = daemon.usage().kib;
    over.store(true, Relaxed);
    let mut waits = others.await.unwrap();
    for attacker in attackers {
        attacker.abort();
        // It was stopped: that is no news.
        let _ = attacker.await;
    }
    // Whoever attacked is thrown out or has left, and others' connections idle out.
    daemon.is_quiet();
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let mib = |kib: u64| kib as f64 / 1024.0;
    println!(
        "{name:22} {:7} {:7.2} ms {:6.1} ms {:7.1} MiB {:7.1} MiB {cpu:4.0} %",
        waits.len(),
        at(0.99),
        at(1.0),
        mib(held),
        mib(daemon.usage().kib)
    );
    held
}

/// Asks the daemon for something of each kind until told otherwise; each must be answered. How long it took.
async fn others(ports: Ports, over: Arc<AtomicBool>) -> Vec<Duration> {
    let mut waits = Vec::new();
    let mut http = TcpStream::connect(ports.http).await.unwrap();
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    udp.connect(ports.udp).await.unwrap();
    while !over.load(Relaxed) || waits.is_empty() {
        let begin = Instant::now();
        timeout(LIMIT, ask(&mut http)).await.expect("others are answered");
        waits.push(begin.elapsed());
        timeout(LIMIT, ping(&udp)).await.expect("others' datagrams come back");
        sleep(Duration::from_millis(5)).await;
    }
    waits
}

async fn ask(http: &mut TcpStream) {
    http.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").await.unwrap();
    let (head, _) = answer(http).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

/// What is lost is sent again, as its protocol would.
async fn ping(udp: &UdpSocket) {
    let mut buffer = [0; 64];
    loop {
        udp.send(b"ping").await.unwrap();
        if let Ok(heard) = timeout(Duration::from_secs(1), udp.recv(&mut buffer)).await {
            assert_eq!(&buffer[..heard.unwrap()], b"ping");
            return;
        }
    }
}
