//! Attacks on one daemon, one after the other: its memory stays bounded, and others are served meanwhile.
//!
//! Only when asked for, because it takes the whole machine; it prints a table. [`stage`] says who runs where, so that what
//! others wait is the daemon's doing and not the attackers':
//!
//! ```text
//! PORTOLAN_BIN=target/release/portolan PORTOLAN_FLOOD_SECONDS=10 \
//!     cargo test -p portolan-bench --test it floods -- --nocapture
//! ```
//!
//! `PORTOLAN_FLOOD_ONLY=rapid_reset,settings` runs some of them, and `PORTOLAN_FLOOD_TABLE=docs/hardening.md` writes the
//! table down.

mod frames;
mod http;
mod other;
mod slow;
mod stage;
mod table;

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::{sleep, timeout};

use self::stage::Stage;
use self::table::{Row, Waits};
use crate::daemon::{Daemon, Ports, put};
use crate::mixed::backends::{Backend, Kind};
use crate::mixed::clients::answer;

/// How much more memory all attacks may cost: the largest keeps thousands of answers from being taken.
const MOST_KIB: u64 = 192 * 1024;
/// How much more there may be in the end, when it was given back.
const LEFT_KIB: u64 = 64 * 1024;
/// How long giving back may take.
const GIVING_BACK: Duration = Duration::from_secs(6);
/// Longest that others may wait.
const LIMIT: Duration = Duration::from_secs(30);
/// Each time there are so many rows more, one of peace follows.
const BETWEEN: usize = 6;
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
    let stage = Stage::set();
    let daemon = Daemon::start_by(stage.daemon(&program), settings);
    let attackers = runtime(ATTACKERS, stage::give_way);
    let others = runtime(1, stage::go_first);
    let rows = others.block_on(attack_all(&daemon, others.handle(), attackers.handle(), time));
    let place = match stage.apart {
        true => "the daemon alone on one processor, attackers and others on another",
        false => "all on one processor",
    };
    table::publish(&rows, &format!("Each attack took {} s, with {place}.", time.as_secs()));
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

async fn attack_all(daemon: &Daemon, quick: &Handle, attackers: &Handle, time: Duration) -> Vec<Row> {
    // Who is attacked is busy with it, and those who ask somebody else are not to wait for that.
    let web = attackers.spawn(Backend::start(Kind::Web)).await.unwrap();
    let aside = quick.spawn(Backend::start(Kind::Web)).await.unwrap();
    let pong = quick.spawn(Backend::start(Kind::Pong)).await.unwrap();
    for (service, backend) in [("web", &web), ("aside", &aside), ("pong", &pong)] {
        let port = backend.address.port();
        let body = format!("{{\"Name\":\"{service}\",\"Address\":\"127.0.0.1\",\"Port\":{port}}}");
        put(daemon.ports.api, "/v1/agent/service/register", &body).await;
    }
    timeout(LIMIT, routed(daemon.ports.http)).await.expect("the services are reached");
    let attacks: [(&'static str, Attack); 21] = attacks![
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
    let only = std::env::var("PORTOLAN_FLOOD_ONLY").ok();
    let wanted = |name: &str| only.as_ref().is_none_or(|only| only.split(',').any(|one| one == name));
    let handles = (quick, attackers);
    let calm = under(daemon, handles, (table::CALM, None), time, u64::MAX).await;
    let at_first = calm.kib;
    let mut rows = vec![calm];
    for (name, attack) in attacks.into_iter().filter(|(name, _)| wanted(name)) {
        let row = under(daemon, handles, (name, Some(attack)), time, at_first).await;
        assert!(row.kib < at_first + MOST_KIB, "{name}: {} KiB after {at_first} KiB", row.kib);
        rows.push(row);
        if rows.len() % BETWEEN == 0 {
            rows.push(under(daemon, handles, (table::CALM, None), time, at_first).await);
        }
    }
    let left = rows.last().unwrap().kib_afterwards;
    assert!(left < at_first + LEFT_KIB, "{left} KiB are left after {at_first} KiB");
    rows
}

/// Attacks for a while, and serves others; what it cost.
async fn under(
    daemon: &Daemon,
    (quick, attackers): (&Handle, &Handle),
    (name, attack): (&'static str, Option<Attack>),
    time: Duration,
    at_first: u64,
) -> Row {
    let attackers: Vec<_> = attack
        .iter()
        .flat_map(|attack| (0..ATTACKERS).map(|_| attackers.spawn(attack(daemon.ports))))
        .collect();
    let over = Arc::new(AtomicBool::new(false));
    let kept = quick.spawn(others(daemon.ports, over.clone()));
    let new = quick.spawn(newcomers(daemon.ports.http, over.clone()));
    let clock = stage::watch_the_clock(over.clone());
    let (begin, cpu) = (Instant::now(), daemon.cpu_ms());
    sleep(time).await;
    let cpu_percent = (daemon.cpu_ms() - cpu) as f64 / begin.elapsed().as_millis() as f64 * 100.0;
    let kib = daemon.usage().kib;
    over.store(true, Relaxed);
    let (kept, new) = (Waits::new(kept.await.unwrap()), Waits::new(new.await.unwrap()));
    let clock = Waits::new(clock.join().unwrap());
    for attacker in attackers {
        attacker.abort();
        // It was stopped: that is no news.
        let _ = attacker.await;
    }
    // Whoever attacked is thrown out or has left, and others' connections idle out.
    daemon.is_quiet();
    let kib_afterwards = given_back(daemon, at_first.saturating_add(at_first / 8)).await;
    let row = Row { name, kept, new, clock, cpu_percent, kib, kib_afterwards };
    row.report();
    row
}

/// What memory there is when the daemon has come to rest, or is below `enough`.
async fn given_back(daemon: &Daemon, enough: u64) -> u64 {
    let end = Instant::now() + GIVING_BACK;
    loop {
        let kib = daemon.usage().kib;
        if kib < enough || Instant::now() > end {
            return kib;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Asks the daemon for something of each kind until told otherwise; each must be answered. How long it took.
async fn others(ports: Ports, over: Arc<AtomicBool>) -> Vec<Duration> {
    let mut waits = Vec::new();
    let mut http = TcpStream::connect(ports.http).await.unwrap();
    http.set_nodelay(true).unwrap();
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    udp.connect(ports.udp).await.unwrap();
    while !over.load(Relaxed) || waits.is_empty() {
        let begin = Instant::now();
        timeout(LIMIT, ask(&mut http)).await.expect("others are answered");
        waits.push(begin.elapsed());
        if waits.len() % 8 == 0 {
            timeout(LIMIT, ping(&udp)).await.expect("others' datagrams come back");
        }
        sleep(Duration::from_millis(2)).await;
    }
    waits
}

/// Asks on a new connection each time.
async fn newcomers(http: SocketAddr, over: Arc<AtomicBool>) -> Vec<Duration> {
    let mut waits = Vec::new();
    while !over.load(Relaxed) || waits.is_empty() {
        let begin = Instant::now();
        let asking = async { ask(&mut TcpStream::connect(http).await.unwrap()).await };
        timeout(LIMIT, asking).await.expect("newcomers are answered");
        waits.push(begin.elapsed());
        sleep(Duration::from_millis(10)).await;
    }
    waits
}

/// Returns once routes have followed the catalog.
async fn routed(http: SocketAddr) {
    for host in ["aside", "127.0.0.1"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        loop {
            let mut stream = TcpStream::connect(http).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            if answer(&mut stream).await.unwrap().0.starts_with("HTTP/1.1 200 ") {
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn ask(http: &mut TcpStream) {
    http.write_all(b"GET / HTTP/1.1\r\nHost: aside\r\n\r\n").await.unwrap();
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
