//! Ten thousand TCP checks every ten seconds on one node: how late do they start, and what does it cost?
//! `cargo run --profile fast -p portolan-health --example checks [CHECKS] [SECONDS]`. Prints one `name
//! value unit` line each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::{
    Cadence, CheckDef, CheckRegistration, Command, InitialStatus, InstanceDef, InstanceRegistration, Probe,
    Register, Status,
};
use lease::Leases;
use portolan_health::{Config, Metrics, node_def, register_node};
use store::Store;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let count = args.next().transpose()?.unwrap_or(10_000);
    let seconds = args.next().transpose()?.unwrap_or(60);
    let (log, events) = log::memory::open(log::memory::Config::default());
    let store = store::open(store::Config::new("n1"), log, events).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });

    let def = node_def("n1", "", [127, 0, 0, 1].into());
    register_node(&store, &def).await?;
    let metrics = Metrics::default();
    let leases = Arc::new(Leases::new("n1", lease::Config::default(), Instant::now()));
    let (trigger, drain) = state::drain();
    let run = portolan_health::run(Config::default(), def, store.clone(), leases, metrics.clone(), drain);
    let runner = tokio::spawn(run);
    for number in 0..count {
        store.submit(registration(number, &address)).await?;
    }
    settle(&store, count).await;

    let (before, index, cpu) = (metrics.probes.get(), store.now().index(), cpu_seconds()?);
    let lateness = Lateness::of(&metrics);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let probes = metrics.probes.get() - before;
    println!("health.probes {:.1} per second, {count} checks every 10 s", probes as f64 / seconds as f64);
    println!("health.skipped {} runs", metrics.skipped.get());
    println!("health.commands {} while settled", store.now().index() - index);
    println!(
        "health.cpu {:.1} % of one core, the checked server included",
        (cpu_seconds()? - cpu) / seconds as f64 * 1e2
    );
    Lateness::of(&metrics).print_since(&lateness);
    trigger.finish(Duration::from_secs(10)).await;
    runner.await?;
    Ok(())
}

/// Waits until every check passes.
async fn settle(store: &Store, count: u64) {
    let passing = |store: &Store| store.now().checks().filter(|c| c.status == Status::Passing).count() as u64;
    while passing(store) < count {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn registration(number: u64, address: &str) -> Command {
    let id: Arc<str> = format!("web-{number}").into();
    let def = InstanceDef::new(id.clone(), format!("web-{}", number / 50).into(), 80);
    let check = CheckDef {
        id: format!("service:{id}").into(),
        name: "tcp".into(),
        notes: "".into(),
        service_id: id,
        probe: Probe::Tcp {
            address: address.into(),
            cadence: Cadence { interval_ms: 10_000, timeout_ms: 10_000 },
        },
        deregister_after_ms: None,
        success_before_passing: 0,
        failures_before_warning: 0,
        failures_before_critical: 0,
        definition: None,
    };
    let checks = vec![CheckRegistration {
        def: check,
        status: InitialStatus::Keep(Status::Critical),
        output: "".into(),
    }];
    let instance = Some(InstanceRegistration { def, replace_checks: true });
    Command::Register(Box::new(Register { node: None, on: "n1".into(), instance, checks }))
}

/// Seconds of processor time that this process has used.
fn cpu_seconds() -> Result<f64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks as f64 / 100.0)
}

/// Counts of starts by lateness, read from the text that operators see.
struct Lateness(Vec<(String, u64)>);

impl Lateness {
    fn of(metrics: &Metrics) -> Lateness {
        let mut registry = prometheus_client::registry::Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        let buckets = text.lines().filter_map(|line| {
            let (le, count) =
                line.strip_prefix("health_probe_lateness_seconds_bucket{le=\"")?.split_once("\"} ")?;
            Some((le.to_owned(), count.parse().ok()?))
        });
        Lateness(buckets.collect())
    }

    fn print_since(&self, before: &Lateness) {
        let total = self.0.last().map_or(0, |last| last.1) - before.0.last().map_or(0, |last| last.1);
        for ((le, count), (_, earlier)) in self.0.iter().zip(&before.0) {
            let share = (count - earlier) as f64 / total.max(1) as f64 * 1e2;
            println!("health.lateness {share:.3} % within {le} s");
        }
    }
}
