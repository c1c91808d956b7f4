//! The same life with the order in etcd: three members of it, one on each of the first hosts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use peers::Running;
use portolan_netns::http::{Request, ask};
use portolan_netns::{Cluster, Daemon, Lab, Start, need};

use crate::support::{NAMES, SECOND, all_keep, all_reach, judge, keep, progress, register, web};

/// An etcd cluster, a member on each of the first three hosts.
struct Etcd<'a> {
    lab: &'a Lab,
    binary: PathBuf,
    folder: PathBuf,
    members: [Option<Running>; 3],
}

impl<'a> Etcd<'a> {
    fn start(lab: &'a Lab, folder: &Path) -> Result<Self, peers::Missing> {
        let binary = peers::tool("etcd")?;
        let mut etcd = Self { lab, binary, folder: folder.to_owned(), members: [const { None }; 3] };
        (0..3).for_each(|at| etcd.run(at));
        etcd.wait();
        Ok(etcd)
    }

    fn run(&mut self, at: usize) {
        let url = |at: usize, port: u16| format!("http://{}:{port}", self.lab.hosts[at].address);
        let all: Vec<_> = (0..3).map(|at| format!("{}={}", NAMES[at], url(at, 2380))).collect();
        let (client, peer) = (url(at, 2379), url(at, 2380));
        let mut command = self.lab.hosts[at].command(&self.binary);
        command.args(["--name", NAMES[at], "--data-dir"]).arg(self.folder.join(NAMES[at]).join("etcd"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &all.join(",")]);
        self.members[at] = Some(Running::start(&mut command).unwrap());
    }

    fn kill(&mut self, at: usize) {
        self.members[at].take().unwrap().kill();
    }

    /// Until one of its members leads.
    fn wait(&self) {
        let health = || {
            let host = &self.lab.hosts[0];
            let to = (host.address, 2379).into();
            let answer = host.enter(|| ask(to, 2 * SECOND, &Request::new("GET", "/health"))).ok()?;
            answer.body.contains("true").then_some(())
        };
        peers::until(Duration::from_secs(60), "etcd to have a leader", health).unwrap();
    }

    fn settings(&self, start: Start<'a>) -> Start<'a> {
        let member = |at: usize| format!("http://{}:2379", self.lab.hosts[at].address);
        let endpoints: Vec<_> = (0..3).map(member).collect();
        start.set("cluster.order=etcd").set(format!("cluster.etcd.endpoints={}", endpoints.join(",")))
    }
}

#[test]
fn etcd_carries_it_and_one_node_after_the_other_dies() {
    let lab = need!(Lab::new(&NAMES));
    let folder = tempfile::tempdir().unwrap();
    let mut etcd = need!(Etcd::start(&lab, folder.path()));
    let mut cluster = need!(Cluster::new(&lab, folder.path(), |_, start| etcd.settings(start)));
    cluster.start(0).unwrap();
    keep(&cluster, 0, 0..5);
    let formed = cluster.form(3);
    assert!(formed.is_ok(), "{formed:?}\n{}", cluster.said());
    lab.hosts.iter().for_each(|host| web(host, 80));
    for at in [0, 1, 2] {
        register(cluster.at(at));
    }
    all_reach(&cluster, &lab, &[0, 1, 2], &[0, 1, 2]);
    keep(&cluster, 1, 5..20);

    // The host of who leads dies, with what it has of etcd.
    let load = portolan_netns::Load::start(&lab.hosts[..3], cluster.token(), 2);
    progress(&cluster, &load, &[0, 1, 2], 20);
    let dead = cluster.leader_among(&[0, 1, 2]).unwrap();
    let alive: Vec<usize> = (0..3).filter(|at| *at != dead).collect();
    cluster.kill(dead);
    etcd.kill(dead);
    cluster.leader_among(&alive).unwrap();
    progress(&cluster, &load, &alive, 20);
    keep(&cluster, alive[0], 20..40);
    let name = format!("/v1/health/service/web-{}?passing", NAMES[dead]);
    cluster.all_see(&alive, &name, |found| found.as_array().is_some_and(Vec::is_empty)).unwrap();
    all_reach(&cluster, &lab, &alive, &alive);
    etcd.run(dead);
    cluster.start(dead).unwrap();
    all_reach(&cluster, &lab, &[0, 1, 2], &[0, 1, 2]);
    all_keep(&cluster, &[0, 1, 2], 40);
    judge(load);

    // A fourth, which leaves again.
    cluster.admit(3).unwrap();
    register(cluster.at(3));
    all_reach(&cluster, &lab, &[0, 1, 2, 3], &[0, 1, 2, 3]);
    cluster.at(0).say(&["remove", NAMES[3]]).unwrap();
    let left = |members: &serde_json::Value| members.as_array().is_some_and(|all| all.len() == 3);
    cluster.all_see(&[0, 1, 2], "/v1/portolan/members", left).unwrap();
    cluster.kill(3);

    // The power fails everywhere.
    for at in [0, 1, 2] {
        cluster.kill(at);
        etcd.kill(at);
    }
    (0..3).for_each(|at| etcd.run(at));
    cluster.launch(&[0, 1, 2]).unwrap();
    cluster.leader_among(&[0, 1, 2]).unwrap();
    all_keep(&cluster, &[0, 1, 2], 40);
    all_reach(&cluster, &lab, &[0, 1, 2], &[0, 1, 2]);
    keep(&cluster, 2, 40..50);
    all_keep(&cluster, &[0, 1, 2], 50);

    // Who looks for the order elsewhere is told so, and lets nobody wait.
    let lost = need!(Start::new(&lab.hosts[4], folder.path().join("e/data"))).run().unwrap();
    let token = cluster.at(0).say(&["token", "create"]).unwrap();
    let refused = said(&lost, &["join", token.trim()]);
    assert!(refused.contains("say \"etcd\" there"), "{refused}");
}

/// What the command line says when it does not succeed.
fn said(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = daemon.cli(arguments).unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}
