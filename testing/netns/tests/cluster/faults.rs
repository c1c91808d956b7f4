//! Processes, disks and clocks fail.

use portolan_netns::{Cluster, Disk, Lab, Load, need};
use rustix::process::Signal;
use std::time::{Duration, Instant};

use crate::support::{SECOND, all_keep, formed, judge, keep, progress};

/// A node is given up after this long without a beat.
const LEASE: Duration = Duration::from_secs(10);

#[test]
fn the_leader_stands_still_for_longer_than_its_lease() {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    let folder = tempfile::tempdir().unwrap();
    let cluster = need!(formed(&lab, folder.path()));
    let load = Load::start(&lab.hosts, cluster.token(), 2);
    progress(&cluster, &load, &[0, 1, 2], 10);
    let leader = cluster.leader_among(&[0, 1, 2]).unwrap();
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    cluster.at(leader).signal(Signal::STOP).unwrap();
    let stopped = Instant::now();
    progress(&cluster, &load, &others, 30);
    // How long it stands still is the fault itself.
    let over = || (stopped.elapsed() > LEASE + LEASE / 2).then_some(());
    cluster.eventually("longer than a lease", over).unwrap();
    cluster.at(leader).signal(Signal::CONT).unwrap();
    progress(&cluster, &load, &[0, 1, 2], 30);
    judge(load);
}

#[test]
fn one_after_the_other_is_killed_and_comes_back() {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = need!(formed(&lab, folder.path()));
    keep(&cluster, 0, 0..10);
    let load = Load::start(&lab.hosts, cluster.token(), 2);
    for killed in [0, 1, 2, 0] {
        progress(&cluster, &load, &[0, 1, 2], 20);
        cluster.kill(killed);
        let others: Vec<usize> = (0..3).filter(|at| *at != killed).collect();
        progress(&cluster, &load, &others, 20);
        cluster.start(killed).unwrap();
    }
    progress(&cluster, &load, &[0, 1, 2], 20);
    all_keep(&cluster, &[0, 1, 2], 10);
    judge(load);
}

#[test]
fn all_are_killed_at_once_again_and_again() {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = need!(formed(&lab, folder.path()));
    let load = Load::start(&lab.hosts, cluster.token(), 2);
    for _ in 0..3 {
        progress(&cluster, &load, &[0, 1, 2], 20);
        for at in [0, 1, 2] {
            cluster.kill(at);
        }
        cluster.launch(&[0, 1, 2]).unwrap();
    }
    progress(&cluster, &load, &[0, 1, 2], 20);
    judge(load);
}

#[test]
fn a_full_disk_takes_one_member_out_and_nothing_with_it() {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    let disk = need!(Disk::mount(160));
    let folder = tempfile::tempdir().unwrap();
    let data = disk.path().join("data");
    let new = Cluster::new(&lab, folder.path(), |at, start| if at == 2 { start.at(&data) } else { start });
    let mut cluster = need!(new);
    cluster.form(3).unwrap();
    keep(&cluster, 0, 0..10);
    let load = Load::start(&lab.hosts, cluster.token(), 2);
    progress(&cluster, &load, &[0, 1, 2], 10);
    let filling = disk.fill().unwrap();
    // More than fits into the segments that it has: it stops and says so, and the others do not care.
    let large = "x".repeat(400_000);
    let is_ready =
        || cluster.at(2).ask(SECOND, "GET", "/readyz", "").is_ok_and(|answer| answer.status == 200);
    let mut written = 0;
    while is_ready() {
        cluster.at(0).put(&format!("/v1/kv/large/{}", written % 10), &large).unwrap();
        written += 1;
        assert!(written < 1000, "{written} large values, and the member without room goes on");
    }
    progress(&cluster, &load, &[0, 1], 30);
    keep(&cluster, 0, 10..20);
    drop(filling);
    cluster.kill(2);
    cluster.start(2).unwrap();
    progress(&cluster, &load, &[0, 1, 2], 20);
    all_keep(&cluster, &[0, 1, 2], 20);
    judge(load);
}

#[test]
fn a_disk_that_stalls_holds_up_its_own_member_only() {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    let disk = need!(Disk::mount(160));
    let folder = tempfile::tempdir().unwrap();
    let data = disk.path().join("data");
    let new = Cluster::new(&lab, folder.path(), |at, start| if at == 0 { start.at(&data) } else { start });
    let mut cluster = need!(new);
    // The first member leads at first, so that it is the leader's disk that stalls.
    cluster.form(3).unwrap();
    let load = Load::start(&lab.hosts, cluster.token(), 2);
    progress(&cluster, &load, &[0, 1, 2], 10);
    let stall = disk.stall().unwrap();
    progress(&cluster, &load, &[1, 2], 30);
    drop(stall);
    progress(&cluster, &load, &[0, 1, 2], 30);
    judge(load);
}
