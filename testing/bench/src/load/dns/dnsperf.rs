//! `dnsperf`, a load generator that no one here wrote: for what is lost, and for TCP.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

/// Queries under way.
const OUTSTANDING: &str = "500";
/// Different names asked for.
const NAMES: u64 = 50_000;

/// What it counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Said {
    pub(crate) completed: u64,
    pub(crate) lost: u64,
    pub(crate) per_second: f64,
}

/// Writes the file that it reads its questions from.
pub(crate) fn write_questions(path: &Path, count: u64, name: impl Fn(u64) -> String) -> Result<()> {
    let mut text = String::new();
    for number in 0..NAMES {
        writeln!(text, "{} A", name(number.wrapping_mul(7919) % count))?;
    }
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Asks `server` the questions of a file; `mode` is `udp` or `tcp`.
pub(crate) fn run(server: SocketAddr, questions: &Path, mode: &str, time: Duration) -> Result<Said> {
    let program = peers::tool("dnsperf").map_err(|missing| anyhow!("{missing}"))?;
    let mut command = Command::new(program);
    command.args(["-s", &server.ip().to_string(), "-p", &server.port().to_string(), "-m", mode]);
    command.args(["-c", "4", "-T", "1", "-q", OUTSTANDING, "-l", &time.as_secs().to_string(), "-d"]);
    let output = command.arg(questions).output().context("run dnsperf")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "dnsperf: {}", String::from_utf8_lossy(&output.stderr).trim());
    parse(&said).with_context(|| format!("dnsperf says no figures: {said}"))
}

fn parse(said: &str) -> Option<Said> {
    let number = |label: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(label))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    Some(Said {
        completed: number("Queries completed:")? as u64,
        lost: number("Queries lost:")? as u64,
        per_second: number("Queries per second:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Said, parse};

    #[test]
    fn reads_what_dnsperf_prints() {
        let said = "Statistics:\n\n  Queries sent:         10\n  Queries completed:    9 (90.00%)\n  \
                    Queries lost:         1 (10.00%)\n\n  Queries per second:   4.5\n";
        assert_eq!(parse(said), Some(Said { completed: 9, lost: 1, per_second: 4.5 }));
        assert_eq!(parse(""), None);
    }
}
