//! Servers on the first half of the processors, load on the second, and none of them asleep.
//!
//! An idle virtual processor halts, and each wake-up is then charged to whoever wakes it: figures vary by a
//! factor of two. A loop of the lowest class on each processor keeps them awake and takes no CPU from anybody. It takes
//! time: whoever wakes beside it may wait for the scheduler's next tick, so latencies are measured while it stands still.

use std::process::Command;

use anyhow::{Context, Result};
use peers::Running;
use rustix::process::Signal;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Which processors do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cores {
    servers: Vec<usize>,
    loaders: Vec<usize>,
}

/// The loops that keep processors awake.
pub(crate) struct Awake(Vec<Running>);

impl Awake {
    /// None.
    #[cfg(test)]
    pub(crate) fn missing() -> Awake {
        Awake(Vec::new())
    }

    /// There is none: processors halt when nobody has work.
    pub(crate) fn is_missing(&self) -> bool {
        self.0.is_empty()
    }

    /// Does `work` while the loops stand still.
    pub(crate) fn halting<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let tell = |signal| self.0.iter().try_for_each(|one| one.signal(signal)).context("signal a loop");
        tell(Signal::STOP)?;
        let done = work();
        tell(Signal::CONT)?;
        done
    }
}

impl Cores {
    /// Splits what this process may use. With one processor everybody shares it.
    pub(crate) fn split() -> Result<Self> {
        Ok(Self::of(sys::process::processors().context("ask which processors may be used")?))
    }

    fn of(all: Vec<usize>) -> Self {
        match all.len() {
            0 | 1 => Cores { servers: all.clone(), loaders: all },
            count => Cores { servers: all[..count / 2].to_vec(), loaders: all[count / 2..].to_vec() },
        }
    }

    /// Keeps this process, and what it starts, to the loaders' part.
    pub(crate) fn take_loaders(&self) -> Result<()> {
        let mut set = CpuSet::new();
        self.loaders.iter().for_each(|cpu| set.set(*cpu));
        sched_setaffinity(None, &set).context("keep the load generator to its processors")
    }

    /// A command that runs on the servers' part.
    pub(crate) fn server(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &list(&self.servers)]).arg(program);
        command
    }

    /// A command that runs on all of them, whatever this process is kept to.
    pub(crate) fn anywhere(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &list(&self.all())]).arg(program);
        command
    }

    /// For servers with a thread for each processor: they share the loaders' part.
    pub(crate) fn together(&self) -> Cores {
        Cores { servers: self.all(), loaders: self.loaders.clone() }
    }

    /// How many a server gets.
    pub(crate) fn for_servers(&self) -> usize {
        self.servers.len()
    }

    fn all(&self) -> Vec<usize> {
        let mut all = [self.servers.as_slice(), self.loaders.as_slice()].concat();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Starts the loops; they end with what is returned, and by themselves when this process is gone. None
    /// where `chrt` is missing.
    pub(crate) fn keep_awake(&self) -> Awake {
        let own = std::process::id().to_string();
        let loops = self.all().into_iter().map(|cpu| {
            let mut command = Command::new("taskset");
            command.args([
                "--cpu-list",
                &cpu.to_string(),
                "chrt",
                "--idle",
                "0",
                "sh",
                "-c",
                "while kill -0 \"$1\" 2>/dev/null; do n=0; while [ $n -lt 100000 ]; do n=$((n + 1)); done; done",
                "awake",
                &own,
            ]);
            Running::start(&mut command)
        });
        Awake(loops.filter_map(Result::ok).collect())
    }

    /// For the report.
    pub(crate) fn describe(&self) -> String {
        format!("servers on processor {}, load on {}", list(&self.servers), list(&self.loaders))
    }
}

fn list(cpus: &[usize]) -> String {
    cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::Cores;

    #[test]
    fn halves_do_not_overlap() {
        let cores = Cores::of(vec![0, 1, 2]);
        assert_eq!((cores.servers, cores.loaders), (vec![0], vec![1, 2]));
        assert_eq!(Cores::of(vec![3]).describe(), "servers on processor 3, load on 3");
    }
}
