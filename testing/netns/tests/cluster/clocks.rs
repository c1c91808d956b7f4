//! Clocks that are wrong, and nodes that were off for longer than a certificate lives.

use portolan_netns::{Clock, Cluster, Lab, Load, need};

use crate::support::{all_keep, judge, keep, progress};

const HOUR: i64 = 3600;
const WEEK: i64 = 7 * 24 * HOUR;

#[test]
fn a_clock_that_jumps_by_an_hour_either_way_changes_nothing() {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    let clock = need!(Clock::new());
    let folder = tempfile::tempdir().unwrap();
    let new = Cluster::new(&lab, folder.path(), |at, start| if at == 0 { start.by(&clock) } else { start });
    let mut cluster = need!(new);
    cluster.form(3).unwrap();
    keep(&cluster, 0, 0..10);
    let load = Load::start(&lab.hosts, cluster.token(), 2);
    for offset in [HOUR, -HOUR] {
        progress(&cluster, &load, &[0, 1, 2], 20);
        clock.set_offset_s(offset).unwrap();
        progress(&cluster, &load, &[0, 1, 2], 20);
        // It also finds back after a start, by certificates that others made an hour away.
        cluster.kill(0);
        cluster.start(0).unwrap();
    }
    progress(&cluster, &load, &[0, 1, 2], 20);
    all_keep(&cluster, &[0, 1, 2], 10);
    judge(load);
}

#[test]
fn a_node_that_was_off_for_a_week_comes_back_alone() {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    let (ours, theirs) = (need!(Clock::new()), need!(Clock::new()));
    let folder = tempfile::tempdir().unwrap();
    let new = Cluster::new(&lab, folder.path(), |at, start| start.by(if at == 2 { &theirs } else { &ours }));
    let mut cluster = need!(new);
    cluster.form(3).unwrap();
    keep(&cluster, 0, 0..10);
    cluster.kill(2);
    // The week passes in steps of eight hours, since the others live through it: what they renew at two thirds of
    // a day they have time to renew.
    for step in 1..=WEEK / (8 * HOUR) {
        ours.set_offset_s(step * 8 * HOUR).unwrap();
        let young = |status: &serde_json::Value| {
            let own = |name: &str| status["Own"][name].as_i64().unwrap_or(0);
            own("CertificateEndsS") - own("CertificateBeganS") > 0 && {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
                own("CertificateEndsS") > now.as_secs() as i64 + step * 8 * HOUR + 4 * HOUR
            }
        };
        cluster.all_see(&[0, 1], "/v1/portolan/status", young).unwrap();
    }
    keep(&cluster, 0, 10..20);
    theirs.set_offset_s(WEEK).unwrap();
    cluster.start(2).unwrap();
    all_keep(&cluster, &[0, 1, 2], 20);
    keep(&cluster, 2, 20..21);
}

#[test]
fn a_board_that_boots_in_1970_comes_back_alone() {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    let clock = need!(Clock::new());
    let folder = tempfile::tempdir().unwrap();
    let new = Cluster::new(&lab, folder.path(), |at, start| if at == 2 { start.by(&clock) } else { start });
    let mut cluster = need!(new);
    cluster.form(3).unwrap();
    keep(&cluster, 0, 0..10);
    cluster.kill(2);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    clock.set_offset_s(-i64::try_from(now.as_secs()).unwrap()).unwrap();
    keep(&cluster, 0, 10..20);
    cluster.start(2).unwrap();
    all_keep(&cluster, &[0, 1, 2], 20);
    keep(&cluster, 2, 20..21);
}

#[test]
fn an_agent_that_was_off_for_too_long_is_told_to_join_again() {
    let lab = need!(Lab::new(&["a", "b", "c", "d"]));
    let clock = need!(Clock::new());
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = need!(Cluster::new(&lab, folder.path(), |_, start| start.by(&clock)));
    cluster.form(3).unwrap();
    cluster.start(3).unwrap();
    let token = cluster.at(0).say(&["token", "create", "--agent"]).unwrap();
    cluster.at(3).say(&["join", token.trim()]).unwrap();
    // Servers certify themselves; an agent has to ask for it, within 30 days.
    for at in [3, 0, 1, 2] {
        cluster.kill(at);
    }
    clock.set_offset_s(6 * WEEK).unwrap();
    cluster.launch(&[0, 1, 2]).unwrap();
    cluster.leader_among(&[0, 1, 2]).unwrap();
    keep(&cluster, 0, 0..5);

    cluster.launch(&[3]).unwrap();
    let told = || cluster.at(3).said().contains("join again").then_some(());
    cluster.eventually("the agent to be told what to do", told).unwrap();
    let seen = || (0..3).any(|at| cluster.at(at).said().contains("is not believed")).then_some(());
    cluster.eventually("a server to tell of it", seen).unwrap();
    let links = |status: &serde_json::Value| {
        let links = status["Own"]["Links"].as_array().cloned().unwrap_or_default();
        links.iter().any(|link| link["Problem"].as_str().is_some_and(|why| why.contains("out of its time")))
            && links.iter().all(|link| link["Up"] != true)
    };
    cluster.all_see(&[3], "/v1/portolan/status", links).unwrap();
}
