//! Hosts that get other addresses, as laptops and routers at home do. Nobody tells anybody.

use std::net::Ipv4Addr;

use portolan_netns::{Host, Lab, need};
use serde_json::Value;

use crate::support::{NAMES, all_keep, formed, keep, resolve};

/// The interface of every host of a lab.
const INTERFACE: &str = "eth0";

fn moves(host: &Host, to: Ipv4Addr) {
    let lines = format!(
        "addr flush dev {INTERFACE}\naddr add {to}/24 dev {INTERFACE}\nroute replace default dev {INTERFACE}\n"
    );
    host.ip(&lines).unwrap();
}

/// Whether a list of members says that a node's mesh is here.
fn is_known_at(members: &Value, name: &str, at: Ipv4Addr) -> bool {
    let member = members.as_array().and_then(|all| all.iter().find(|member| member["Name"] == name));
    member.is_some_and(|member| member["Addresses"][0] == format!("{at}:8300"))
}

fn is_linked(status: &Value, peer: &str, at: Ipv4Addr) -> bool {
    let links = status["Own"]["Links"].as_array();
    let link = links.and_then(|all| all.iter().find(|link| link["Peer"] == peer));
    link.is_some_and(|link| link["Up"] == true && link["Address"] == format!("{at}:8300"))
}

#[test]
fn two_of_three_get_other_addresses_and_all_find_each_other() {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = need!(formed(&lab, folder.path()));
    keep(&cluster, 0, 0..5);
    // Without an address it is where its node is.
    cluster.at(1).put("/v1/agent/service/register", r#"{"Name":"roaming","Port":80}"#).unwrap();
    let new = [(1, Ipv4Addr::new(10, 90, 0, 101)), (2, Ipv4Addr::new(10, 90, 0, 102))];
    for (moved, (at, to)) in new.into_iter().enumerate() {
        moves(&lab.hosts[at], to);
        let known = |members: &Value| is_known_at(members, NAMES[at], to);
        cluster.all_see(&[0, 1, 2], "/v1/portolan/members", known).unwrap();
        let first = 5 + 5 * moved;
        keep(&cluster, at, first..first + 5);
    }
    let resolved = || (resolve(&lab.hosts[0], "roaming") == [new[0].1]).then_some(());
    cluster.eventually("a service of a node that moved to be where the node is", resolved).unwrap();

    // The power fails: nobody has a link by which to find the others.
    (0..3).for_each(|at| cluster.kill(at));
    cluster.launch(&[0, 1, 2]).unwrap();
    cluster.leader_among(&[0, 1, 2]).unwrap();
    keep(&cluster, 2, 15..20);
    all_keep(&cluster, &[0, 1, 2], 20);
    let linked = |status: &Value| is_linked(status, NAMES[2], new[1].1) || status["Own"]["Node"] == NAMES[2];
    cluster.all_see(&[0, 1, 2], "/v1/portolan/status", linked).unwrap();
}
