//! Traffic of every kind through one daemon while services come, go, fail, and routes change: no request fails but
//! those whose only instance died, and nothing is left behind.
//!
//! Fifteen seconds by default. The long form:
//!
//! ```text
//! PORTOLAN_BIN=target/release/portolan PORTOLAN_MIXED_SECONDS=600 \
//!     cargo test -p portolan-bench --test it mixed -- --nocapture
//! ```

pub(crate) mod backends;
mod churn;
pub(crate) mod clients;
mod tally;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, Ports, Usage};
use tally::Tally;

/// What is tallied, and whether it may fail.
const KINDS: [(&str, bool); 9] = [
    ("HTTP/1.1", false),
    ("HTTP/1.1 with a body", false),
    ("HTTP/2", false),
    ("gRPC streams", false),
    ("WebSockets", false),
    ("TCP bulk", false),
    ("UDP", false),
    ("DNS", false),
    // Its only instance dies again and again.
    ("the only instance", true),
];

#[test]
fn nothing_is_lost_while_everything_changes() {
    let program = match peers::portolan() {
        Ok(program) => program,
        Err(missing) => return println!("{missing}"),
    };
    let _alone = crate::alone();
    let time = crate::seconds("PORTOLAN_MIXED_SECONDS", 15);
    let daemon = Daemon::start(&program, |ports| settings(ports, 0));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let tally = Arc::new(Tally::new(&KINDS.map(|(name, _)| name)));
    let usages = runtime.block_on(run(&daemon, &tally, time));
    print!("{}", tally.report());
    let (early, late) = (middle(&usages, 0.25..0.5), middle(&usages, 0.75..1.0));
    println!("memory {} KiB, then {} KiB; descriptors {}, then {}", early.kib, late.kib, early.fds, late.fds);
    for (name, may_fail) in KINDS {
        let (good, bad, first) = tally.of(name);
        assert!(good > 0, "{name}: nothing went through");
        assert!(may_fail || bad == 0, "{name}: {bad} of {} failed: {first:#?}", good + bad);
    }
    assert!(late.kib < early.kib + early.kib / 4 + 16 * 1024, "memory grows: {usages:?}");
    assert!(late.fds < early.fds + early.fds / 2 + 64, "descriptors grow: {usages:?}");
    daemon.is_quiet();
}

async fn run(daemon: &Daemon, tally: &Arc<Tally>, time: Duration) -> Vec<Usage> {
    let mut churn = churn::Churn::new(daemon).await;
    let ports = daemon.ports;
    let clients = clients::start(ports, tally);
    let (begin, mut usages) = (Instant::now(), Vec::new());
    let mut sampled = begin;
    while begin.elapsed() < time {
        churn.step(daemon).await;
        if sampled.elapsed() > time / 60 {
            usages.push(daemon.usage());
            sampled = Instant::now();
        }
    }
    clients.stop().await;
    usages
}

/// Settings with one route that changes and one whose meaning does.
pub(crate) fn settings(ports: Ports, number: u64) -> String {
    let Ports { http, tcp, udp, .. } = ports;
    format!(
        "relay.pool_idle = \"2s\"\n[proxy]\nnamed = []\nudp_idle_timeout = \"2s\"\n[[proxy.tcp]]\nlisten = \
         \"{tcp}\"\nservice = \"echo\"\n[[proxy.udp]]\nlisten = \"{udp}\"\nservice = \"pong\"\n[proxy.http]\n\
         listen = [\"{http}\"]\n[[proxy.http.routes]]\nhost = \"routed\"\nservice = \"churny\"\n\
         request_headers = {{ set = {{ x-number = \"{number}\" }} }}\n[[proxy.http.routes]]\npath = \
         \"/r{number}\"\nservice = \"steady\"\nstrip = true\n"
    )
}

/// The medians of a part of what was seen.
fn middle(usages: &[Usage], part: std::ops::Range<f64>) -> Usage {
    let at = |share: f64| (usages.len() as f64 * share) as usize;
    let part = &usages[at(part.start)..at(part.end).max(at(part.start) + 1).min(usages.len())];
    let median = |of: fn(&Usage) -> u64| {
        let mut all: Vec<u64> = part.iter().map(of).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    Usage { kib: median(|usage| usage.kib), fds: median(|usage| usage.fds) }
}
