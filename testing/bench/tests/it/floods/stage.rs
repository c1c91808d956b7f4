//! Who runs where: the daemon has a processor to itself, and so what others wait is its doing. Attackers run beside those
//! who measure, in the lowest class, so that they never keep them from running.
//!
//! No loop keeps the processors awake, as benchmarks of throughput have it: a wake-up from another processor waits beside
//! one until the next tick, and that is longer than any answer takes.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, gettid, sched_setaffinity};

/// See the module.
pub(super) struct Stage {
    daemon: usize,
    pub(super) apart: bool,
}

impl Stage {
    /// Keeps this thread, and those that it starts, off the daemon's processor, where there are two.
    pub(super) fn set() -> Stage {
        let all = sys::process::processors().unwrap();
        let (daemon, others) = all.split_first().unwrap();
        let mut set = CpuSet::new();
        others.iter().for_each(|cpu| set.set(*cpu));
        let apart = !others.is_empty() && sched_setaffinity(None, &set).is_ok();
        Stage { daemon: *daemon, apart }
    }

    /// The daemon on its processor.
    pub(super) fn daemon(&self, program: &Path) -> Command {
        if !self.apart {
            return Command::new(program);
        }
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &self.daemon.to_string()]).arg(program);
        command
    }
}

/// For a thread that attacks.
pub(super) fn give_way() {
    let own = gettid().as_raw_nonzero().to_string();
    let lowest = Command::new("chrt").args(["--idle", "--pid", "0", &own]).status();
    if !lowest.is_ok_and(|status| status.success()) {
        let _ = rustix::process::nice(19);
    }
}

/// For a thread that measures, or answers those who do.
pub(super) fn go_first() {
    let _ = sys::process::take_short_turns();
}

/// Sleeps as those do who measure, on their processor, and asks nobody anything: how late it wakes up is what the attackers
/// there cost, and the machine.
pub(super) fn watch_the_clock(over: Arc<AtomicBool>) -> JoinHandle<Vec<Duration>> {
    const NAP: Duration = Duration::from_millis(2);
    std::thread::spawn(move || {
        go_first();
        let mut late = Vec::new();
        while !over.load(Relaxed) {
            let begin = Instant::now();
            std::thread::sleep(NAP);
            late.push(begin.elapsed().saturating_sub(NAP));
        }
        late
    })
}
