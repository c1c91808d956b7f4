//! Metrics of the process, the catalog and the log. Faces add their own to the same registry.
//!
//! Everything here is read when somebody asks: nothing counts in the background.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use rustix::param::{clock_ticks_per_second, page_size};
use store::Store;

use crate::daemon::control::Control;

/// The registry with what belongs to no face.
pub(crate) fn registry(store: &Store, control: &Control) -> Registry {
    let mut registry = Registry::default();
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    registry.register("portolan_build", "Version of this program", Info::new(version));
    registry.register_collector(Box::new(Process));
    registry.register_collector(Box::new(State(store.clone())));
    control.register(registry.sub_registry_with_prefix("portolan"));
    registry
}

/// Prometheus's usual `process_*`.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(seen) = Seen::now() else { return Ok(()) };
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
            let metric = ConstGauge::new(value);
            let to = encoder.encode_descriptor(name, help, unit, metric.metric_type())?;
            metric.encode(to)
        };
        let bytes = Some(&Unit::Bytes);
        gauge("process_resident_memory", "Resident memory", bytes, seen.resident)?;
        gauge("process_virtual_memory", "Virtual memory", bytes, seen.virtual_size)?;
        gauge("process_threads", "Threads", None, seen.threads)?;
        gauge("process_open_fds", "Open descriptors", None, seen.open_fds)?;
        gauge("process_max_fds", "Most descriptors that may be open", None, seen.max_fds)?;
        gauge("process_start_time", "Start in Unix time", Some(&Unit::Seconds), seen.start_time)?;
        let cpu = ConstCounter::new(seen.cpu);
        let help = "User and system time used";
        let to = encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), cpu.metric_type())?;
        cpu.encode(to)
    }
}

/// What the kernel says of this process.
#[derive(Debug)]
struct Seen {
    resident: f64,
    virtual_size: f64,
    threads: f64,
    open_fds: f64,
    max_fds: f64,
    start_time: f64,
    cpu: f64,
}

impl Seen {
    /// From `/proc`, see proc_pid_stat(5). `None` where there is no such thing.
    fn now() -> Option<Seen> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name in brackets may contain anything; fields are counted from the state, which is field 3.
        let fields: Vec<f64> =
            stat.rsplit_once(')')?.1.split_whitespace().map(|f| f.parse().unwrap_or(0.0)).collect();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0.0);
        let ticks = clock_ticks_per_second() as f64;
        let booted = fs::read_to_string("/proc/stat").ok()?;
        let booted: f64 = booted.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())?;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Some(Seen {
            resident: field(24) * page_size() as f64,
            virtual_size: field(23),
            threads: field(20),
            open_fds: fs::read_dir("/proc/self/fd").ok()?.count() as f64,
            max_fds: limit.map_or(f64::INFINITY, |limit| limit as f64),
            start_time: booted + field(22) / ticks,
            cpu: (field(14) + field(15)) / ticks,
        })
    }
}

/// The catalog and its log.
struct State(Store);

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State")
    }
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (view, log) = (self.0.now(), self.0.log_status());
        let gauges: [(&str, &str, u64); 9] = [
            ("portolan_catalog_index", "Index of the last command applied", view.index()),
            ("portolan_catalog_services", "Services", view.service_count() as u64),
            ("portolan_catalog_instances", "Instances", view.instance_count() as u64),
            ("portolan_catalog_nodes", "Nodes", view.nodes().count() as u64),
            ("portolan_log_last_index", "Last index decided", log.last_index),
            ("portolan_log_checkpoint_index", "Index of the newest checkpoint", log.checkpoint_index),
            ("portolan_log_replay_bytes", "Bytes that a restart would replay", log.bytes_since_checkpoint),
            ("portolan_log_queued", "Appends that wait for the disk", log.queued),
            ("portolan_log_stopped", "1 when writes have stopped", u64::from(log.stopped.is_some())),
        ];
        for (name, help, value) in gauges {
            let metric = ConstGauge::new(value as f64);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let mut counter = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
        };
        counter("portolan_log_syncs", "Syncs of the log", None, log.syncs as f64)?;
        let seconds = log.sync_us as f64 / 1e6;
        counter("portolan_log_sync", "Time spent in syncs of the log", Some(&Unit::Seconds), seconds)?;
        Ok(())
    }
}
