//! What a process tree costs, read from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The kernel counts CPU time for user space in hundredths of a second on every architecture that we build for.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time of a process, its threads, its descendants, and those it has waited for.
pub(crate) fn cpu(root: u32) -> Result<Duration> {
    let mut parents = BTreeMap::new();
    let mut ticks = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("list processes")? {
        let Some(pid) = entry.ok().and_then(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) else {
            continue;
        };
        // A process that ended meanwhile is counted in its parent, once that has waited for it.
        let Some(stat) =
            fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|line| Stat::parse(&line))
        else {
            continue;
        };
        parents.insert(pid, stat.parent);
        ticks.insert(pid, stat.ticks);
    }
    anyhow::ensure!(ticks.contains_key(&root), "process {root} has ended");
    let total: u64 =
        ticks.iter().filter(|(pid, _)| descends(**pid, root, &parents)).map(|(_, ticks)| ticks).sum();
    Ok(Duration::from_millis(total * 1000 / TICKS_PER_SECOND))
}

fn descends(mut pid: u32, root: u32, parents: &BTreeMap<u32, u32>) -> bool {
    loop {
        if pid == root {
            return true;
        }
        match parents.get(&pid) {
            Some(parent) if *parent != pid => pid = *parent,
            _ => return false,
        }
    }
}

struct Stat {
    parent: u32,
    ticks: u64,
}

impl Stat {
    /// `pid (name) state ppid … utime stime cutime cstime …`; the name may hold anything, brackets too.
    fn parse(line: &str) -> Option<Stat> {
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        let ticks = (11..15).map(number).sum::<Option<u64>>()?;
        Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks })
    }
}

/// Microseconds of CPU that `work` cost the process tree of `root`.
pub(crate) fn cpu_us<T>(root: u32, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let before = cpu(root)?;
    let done = work()?;
    Ok((done, (cpu(root)? - before).as_secs_f64() * 1e6))
}

/// Resident memory of one process in MB (10⁶ bytes), pages shared with others included.
pub(crate) fn resident_mb(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS: it has ended")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().context("VmRSS is a number")?;
    Ok(kib * 1024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::{Stat, cpu, resident_mb};

    #[test]
    fn a_name_may_hold_anything() {
        let line = "7 (a b) c) S 3 7 7 0 -1 4194304 99 0 0 0 10 20 3 4 20 0 1 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.parent, stat.ticks), (3, 37));
    }

    #[test]
    fn this_process_has_a_cost() {
        assert!(resident_mb(std::process::id()).unwrap() > 0.5);
        cpu(std::process::id()).unwrap();
        assert!(cpu(u32::MAX).is_err());
    }
}
