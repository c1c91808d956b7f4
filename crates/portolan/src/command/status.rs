//! `portolan status`: who leads, how far everybody is, and who reaches whom.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use consul::own::{ClusterStatus, Link, NodeStatus};

use crate::cli::Global;
use crate::exit::Result;
use crate::remote::Remote;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only what this node sees, without asking the others
    #[arg(long)]
    own: bool,
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let path = if args.own { "/v1/portolan/status" } else { "/v1/portolan/status?all" };
        let status = remote.get::<ClusterStatus>(path).await?.value;
        Ok(global.out().one(&status, || text(&status).trim_end().to_owned())?)
    })
}

fn text(status: &ClusterStatus) -> String {
    let own = &status.own;
    let mut text = String::new();
    if own.cluster.is_empty() {
        let _ = writeln!(
            text,
            "{} is alone ({}): `portolan init` makes it the first of a cluster",
            own.node, own.engine
        );
        let _ = writeln!(text, "applied {}", own.applied_index);
        return text;
    }
    let leader = if own.leader.is_empty() { "nobody leads" } else { &*own.leader };
    let leads = if own.leader.is_empty() { "" } else { " leads" };
    let decides = match &*own.engine {
        "etcd" => "etcd decides".to_owned(),
        _ => {
            let verb = if own.voters.len() == 1 { "votes" } else { "vote" };
            format!("{} {verb}", own.voters.join(", "))
        }
    };
    let _ = writeln!(text, "cluster {} ({}): {leader}{leads}; {decides}", own.cluster, own.mode);
    let newest = std::iter::once(own).chain(&status.others).map(|node| node.decided_index).max().unwrap_or(0);
    for node in std::iter::once(own).chain(&status.others) {
        describe(&mut text, node, newest);
    }
    for silent in &status.silent {
        let _ = writeln!(text, "\n{}: no answer: {}", silent.node, silent.problem);
    }
    text
}

fn describe(text: &mut String, node: &NodeStatus, newest: u64) {
    let behind = newest.saturating_sub(node.applied_index);
    let _ = write!(text, "\n{}: {}, applied {}", node.node, node.role, node.applied_index);
    if behind > 0 {
        let _ = write!(text, " ({behind} behind)");
    }
    if node.last_contact_ms > 1000 {
        let _ =
            write!(text, ", heard of the leader {} ago", rough(Duration::from_millis(node.last_contact_ms)));
    }
    if node.certificate_ends_s > 0 {
        let _ = write!(text, ", {}", certificate(node));
    }
    text.push('\n');
    if !node.problem.is_empty() {
        let _ = writeln!(text, "  {}", node.problem);
    }
    for link in &node.links {
        let _ = writeln!(text, "  {}", reach(link));
    }
}

fn reach(link: &Link) -> String {
    if !link.up {
        let why = if link.problem.is_empty() { "not connected yet" } else { &*link.problem };
        return format!("{} unreachable: {why}", link.peer);
    }
    let trip = link.round_trip_us.map(|us| format!(", {:.1} ms", us as f64 / 1000.0)).unwrap_or_default();
    format!("{} at {}{trip}, for {}", link.peer, link.address, rough(Duration::from_millis(link.for_ms)))
}

fn certificate(node: &NodeStatus) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let age = rough(Duration::from_secs(now.saturating_sub(node.certificate_began_s)));
    match node.certificate_ends_s.checked_sub(now) {
        Some(left) => format!("certificate {age} old, ends in {}", rough(Duration::from_secs(left))),
        None => {
            format!("certificate ENDED {} ago", rough(Duration::from_secs(now - node.certificate_ends_s)))
        }
    }
}

/// In the largest unit that fits.
fn rough(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_said() {
        let link = |peer: &str, up, problem: &str| Link {
            peer: peer.into(),
            up,
            problem: problem.into(),
            address: "10.0.0.2:8300".into(),
            round_trip_us: up.then_some(340),
            for_ms: 200_000,
        };
        let own = NodeStatus {
            node: "a".into(),
            role: "server".into(),
            cluster: "c".into(),
            mode: "enforce".into(),
            leader: "b".into(),
            voters: vec!["a".into(), "b".into()],
            applied_index: 7,
            decided_index: 9,
            links: vec![link("b", true, ""), link("c", false, "connection refused")],
            ..NodeStatus::default()
        };
        let shown = text(&ClusterStatus { own, ..ClusterStatus::default() });
        assert_eq!(
            shown,
            "cluster c (enforce): b leads; a, b vote\n\na: server, applied 7 (2 behind)\n  b at 10.0.0.2:8300, 0.3 ms, for 3 min\n  \
             c unreachable: connection refused\n"
        );
    }
}
