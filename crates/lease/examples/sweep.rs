//! How long a sweep of a million leases takes, and a renewal: `cargo run --profile fast -p portolan-lease
//! --example sweep [LEASES]`. Prints one `name value unit` line each, medians of five runs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use catalog::{
    Catalog, Command, Envelope, InstanceDef, InstanceRegistration, Lease, NodeDef, NodeRegistration, Register,
};
use portolan_lease::{Config, Leases};

fn main() {
    let count: usize = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let mut catalog = Catalog::default();
    for number in 0..count {
        catalog.apply(number as u64 + 1, &registration(number));
    }
    let snapshot = catalog.snapshot();
    let origin = Instant::now();
    let leases = Leases::new("n1", Config::default(), origin);
    let followed = Instant::now();
    assert!(leases.sweep(&snapshot, origin).is_empty());
    println!("lease.follow_all {:.1} ms for {} leases", ms(followed.elapsed()), leases.stats().instances);

    let sweeps = median(|run| {
        let now = origin + Duration::from_secs(run);
        let started = Instant::now();
        assert!(black_box(leases.sweep(&snapshot, now)).is_empty());
        started.elapsed()
    });
    println!("lease.sweep {:.3} ms for {count} leases", ms(sweeps));

    let ids: Vec<String> = (0..count).map(|number| format!("service-{number}")).collect();
    let renewals = median(|run| {
        let now = origin + Duration::from_secs(10 + run);
        let started = Instant::now();
        for id in &ids {
            let _ = black_box(leases.renew(&snapshot, "n1", id, now));
        }
        started.elapsed()
    });
    println!("lease.renew {:.0} ns each", renewals.as_nanos() as f64 / count as f64);
}

fn median(mut run: impl FnMut(u64) -> Duration) -> Duration {
    let mut times: Vec<_> = (1..=5).map(&mut run).collect();
    times.sort();
    times[2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn registration(number: usize) -> Envelope {
    let node = NodeDef::new("n1".into(), "127.0.0.1".into());
    let def = InstanceDef {
        address: "10.0.0.1".into(),
        lease: Some(Lease { ttl_ms: 60_000 }),
        ..InstanceDef::new(format!("service-{number}").into(), format!("service-{}", number / 10).into(), 80)
    };
    let register = Register {
        node: Some(NodeRegistration { def: node, only_if_absent: true }),
        on: "n1".into(),
        instance: Some(InstanceRegistration { def, replace_checks: false }),
        checks: Vec::new(),
    };
    let command = Command::Register(Box::new(register));
    Envelope { node: "n1".into(), epoch: 1, sequence: number as u64 + 1, time_ms: 0, command }
}
