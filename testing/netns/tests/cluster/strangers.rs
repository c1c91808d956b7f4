//! Those who have no business here: none of them gets in, and none of them disturbs.

use std::net::UdpSocket;
use std::process::Stdio;
use std::time::Instant;

use peers::Running;
use portolan_netns::{Cluster, Failure, Lab, Load, Start, need};
use serde_json::{Value, json};

use crate::support::{NAMES, SECOND, formed, judge, progress};

const MESH_PORT: u16 = 8300;

fn members(cluster: &Cluster, at: usize) -> Vec<String> {
    let members = cluster.at(at).get("/v1/portolan/members").unwrap();
    let name = |member: &Value| member["Name"].as_str().unwrap().to_owned();
    let mut names: Vec<String> = members.as_array().unwrap().iter().map(name).collect();
    names.sort();
    names
}

/// `join` that must be refused, and in words.
fn refused(cluster: &Cluster, at: usize, token: &str) -> String {
    match cluster.at(at).say(&["join", token]) {
        Err(Failure::Command { said, .. }) => said,
        other => panic!("it was let in: {other:?}"),
    }
}

#[test]
fn a_token_is_used_once_and_two_that_race_for_it_do_not_both_win() {
    let lab = need!(Lab::new(&NAMES));
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = need!(formed(&lab, folder.path()));
    let token = cluster.at(0).say(&["token", "create"]).unwrap();
    cluster.start(3).unwrap();
    cluster.start(4).unwrap();
    let join = |at: usize| cluster.at(at).cli(&["join", token.trim()]).unwrap().status.success();
    let won = std::thread::scope(|scope| {
        let racing = [3, 4].map(|at| scope.spawn(move || join(at)));
        racing.map(|one| one.join().unwrap())
    });
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
    let winner = if won[0] { "d" } else { "e" };
    assert_eq!(members(&cluster, 0), ["a", "b", "c", winner]);
    // And never again.
    let loser = if won[0] { 4 } else { 3 };
    refused(&cluster, loser, token.trim());
}

#[test]
fn a_token_of_another_cluster_and_a_damaged_one_are_refused_in_words() {
    let lab = need!(Lab::new(&NAMES[..4]));
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = need!(formed(&lab, folder.path()));
    cluster.start(3).unwrap();
    let token = cluster.at(0).say(&["token", "create"]).unwrap();
    let token = token.trim();
    let mut damaged: Vec<char> = token.chars().collect();
    let middle = damaged.len() / 2;
    damaged[middle] = if damaged[middle] == 'a' { 'b' } else { 'a' };
    let damaged: String = damaged.into_iter().collect();
    let words = refused(&cluster, 3, &damaged);
    assert!(!words.trim().is_empty());
    assert_eq!(members(&cluster, 0), ["a", "b", "c"]);
}

#[test]
fn the_token_of_another_cluster_opens_no_door_of_this_one() {
    let lab = need!(Lab::new(&NAMES));
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = need!(formed(&lab, folder.path()));
    // Another cluster begins on a host, makes a token, and is gone; the host becomes a server of this cluster.
    let other = need!(Start::new(&lab.hosts[3], folder.path().join("other/data"))).run().unwrap();
    other.say(&["init"]).unwrap();
    let token = other.say(&["token", "create"]).unwrap();
    other.kill();
    cluster.admit(3).unwrap();
    cluster.start(4).unwrap();

    let words = refused(&cluster, 4, token.trim());
    let address = format!("{}:{MESH_PORT}", lab.hosts[3].address);
    assert!(words.contains(&address), "it does not say who was asked: {words}");
    let told = || cluster.at(3).said().contains("a caller ended its handshake").then_some(());
    cluster.eventually("the server to tell of it", told).unwrap();
    // Nor does a member change sides by it.
    let words = refused(&cluster, 1, token.trim());
    assert!(words.contains("belongs to cluster"), "{words}");
    cluster.all_see(&[0, 1, 2, 3], "/v1/portolan/members", |all| count(all) == 4).unwrap();
}

fn count(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}

#[test]
fn a_certificate_of_another_authority_is_refused_on_the_mesh_port_by_both_carriers() {
    let lab = need!(Lab::new(&NAMES[..4]));
    let openssl = need!(peers::tool("openssl"));
    let folder = tempfile::tempdir().unwrap();
    let cluster = need!(formed(&lab, folder.path()));
    let (d, a) = (&lab.hosts[3], lab.hosts[0].address);
    let stranger = need!(Start::new(d, folder.path().join("stranger/data")));
    std::fs::create_dir_all(folder.path().join("stranger")).unwrap();
    let keys = folder.path().join("keys");
    let issued = stranger.cli(&["ca", "issue", "d", "--out", keys.to_str().unwrap()]).output().unwrap();
    assert!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
    let refusals =
        |cluster: &Cluster| cluster.at(0).said().matches("a caller's certificate is not believed").count();

    // By TLS over TCP, from a caller who does not care whom it speaks with.
    let mut tls = d.command(&openssl);
    tls.args(["s_client", "-ign_eof", "-connect", &format!("{a}:{MESH_PORT}"), "-alpn", "portolan", "-cert"])
        .arg(keys.join("d.pem"));
    let output = tls.arg("-key").arg(keys.join("d.key")).stdin(Stdio::null()).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("alert"), "{said}");
    cluster.eventually("the server to tell of it", || (refusals(&cluster) > 0).then_some(())).unwrap();

    // By QUIC, as a node that was given the wrong authority: it does not believe the server, and the server is told.
    let file = folder.path().join("px.json");
    let px = json!({
        "me": { "id": "d", "addr": format!("{}:5200", d.address), "tls_config_info": {
            "cert_path": keys.join("d.pem"), "key_path": keys.join("d.key"), "ca_cert_path": keys.join("ca.pem") } },
        "servers": [{ "addr": format!("{a}:{MESH_PORT}"), "server_name": "a" }],
    });
    std::fs::write(&file, px.to_string()).unwrap();
    let mut command = stranger.cli(&["serve", "--px", file.to_str().unwrap()]);
    let dialler = Running::start(command.stdin(Stdio::piped())).unwrap();
    let told = || cluster.at(0).said().contains("a caller ended its handshake").then_some(());
    let told = cluster.eventually("the server to tell of it", told);
    assert!(told.is_ok(), "the caller says: {}", dialler.said());
    let told = || dialler.said().contains("no link yet").then_some(());
    cluster.eventually("the caller to tell of it", told).unwrap();
    assert_eq!(members(&cluster, 0), ["a", "b", "c"]);
}

#[test]
fn a_removed_node_is_let_in_no_more_with_its_old_keys() {
    let lab = need!(Lab::new(&NAMES[..4]));
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = need!(formed(&lab, folder.path()));
    cluster.admit(3).unwrap();
    cluster
        .all_see(&[0, 1, 2], "/v1/portolan/members", |all| all.as_array().is_some_and(|all| all.len() == 4))
        .unwrap();
    // It is away when it is removed, so it cannot know.
    cluster.kill(3);
    cluster.at(1).say(&["remove", NAMES[3]]).unwrap();
    let up = |cluster: &Cluster, at: usize| {
        let status = cluster.at(at).get("/v1/portolan/status").ok()?;
        Some(status["Own"]["Links"].as_array()?.iter().any(|link| link["Peer"] == "d" && link["Up"] == true))
    };
    // Every one of them has to hear of the removal, and to drop what is left of the link to the dead.
    let cut = || (0..3).all(|at| up(&cluster, at) == Some(false)).then_some(());
    cluster.eventually("the removed node's links cut on all", cut).unwrap();
    cluster.launch(&[3]).unwrap();
    let begin = Instant::now();
    let tries = || {
        assert!((0..3).all(|at| up(&cluster, at) != Some(true)), "a removed node is connected");
        (begin.elapsed() > 5 * SECOND).then_some(())
    };
    cluster.eventually("five seconds of its tries", tries).unwrap();
    assert_eq!(members(&cluster, 0), ["a", "b", "c"]);
}

#[test]
fn garbage_and_floods_on_the_mesh_port_disturb_nobody() {
    let lab = need!(Lab::new(&NAMES[..4]));
    let folder = tempfile::tempdir().unwrap();
    let cluster = need!(formed(&lab, folder.path()));
    let load = Load::start(&lab.hosts[..3], cluster.token(), 2);
    progress(&cluster, &load, &[0, 1, 2], 10);
    let leader = cluster.leader_among(&[0, 1, 2]).unwrap();
    let memory = || resident_kib(cluster.at(leader).pid());
    let before = memory();

    let sent = lab.hosts[3].enter(|| flood(lab.hosts[leader].address.into(), 5 * SECOND));
    progress(&cluster, &load, &[0, 1, 2], 20);
    assert!(sent > 10_000, "that was no flood: {sent}");
    assert_eq!(cluster.leader_among(&[0, 1, 2]).unwrap(), leader, "a flood changed who leads");
    let grown = memory().saturating_sub(before);
    assert!(grown < 64 << 10, "a flood took {grown} KiB of memory");
    judge(load);
}

/// Datagrams of nonsense, some of which look like the first of a QUIC connection; how many were sent.
fn flood(to: std::net::IpAddr, length: std::time::Duration) -> u64 {
    let mut rng = fastrand::Rng::with_seed(1);
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect((to, MESH_PORT)).unwrap();
    let begin = Instant::now();
    let mut sent = 0;
    let mut datagram = [0; 1200];
    while begin.elapsed() < length {
        rng.fill(&mut datagram);
        match rng.u8(..3) {
            // Long header, version 1, Initial, two connection ids of eight bytes.
            0 => datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]),
            // A version that nobody speaks.
            1 => datagram[..6].copy_from_slice(&[0xc3, 0x1a, 0x2a, 0x3a, 0x4a, 8]),
            _ => {}
        }
        let length = if rng.bool() { 1200 } else { rng.usize(1..1200) };
        sent += u64::from(socket.send(&datagram[..length]).is_ok());
    }
    sent
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
