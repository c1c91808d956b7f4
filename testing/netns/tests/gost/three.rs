//! On three nodes: the one that took a tunnel's registration is killed, and GOST, which never registers again,
//! goes on with the others.

use portolan_netns::{Cluster, Lab, need};
use serde_json::Value;

use crate::client::{Client, Grpc, Http};
use crate::{NAME, known, tunnel};

const PLUGIN: ([u8; 4], u16) = ([127, 0, 0, 1], 8000);

/// Until the servers of these hosts all answer this.
fn all_show(cluster: &Cluster, clients: &mut [&mut dyn Client], on: &[usize], expected: &[Value]) {
    for at in on {
        let client = &mut clients[*at];
        let what = format!("Get to answer {expected:?} on host {at}");
        let shown = || (client.get(NAME).ok().as_deref() == Some(expected)).then_some(());
        cluster.eventually(&what, shown).unwrap();
    }
}

/// A client of each host, where the first host's daemon takes the registration.
fn whole_life(cluster: &mut Cluster, clients: &mut [&mut dyn Client]) {
    assert_eq!(clients[0].call("Register", &known()), Ok(true));
    all_show(cluster, clients, &[0, 1, 2], &[known()]);
    assert_eq!(clients[1].call("Renew", &tunnel("", "")), Ok(true));

    // Its server goes on renewing with another node, as GOST's configuration of two plugins lets it, or as the
    // address that it was told moves.
    cluster.kill(0);
    let renewed = |client: &mut dyn Client| (client.call("Renew", &tunnel("", "")) == Ok(true)).then_some(());
    for _ in 0..3 {
        cluster.eventually("another node to take the renewal", || renewed(clients[2])).unwrap();
        all_show(cluster, clients, &[1, 2], &[known()]);
    }
    // And when the tunnel's server goes too, the entry ends by its term, wherever it is kept by now.
    all_show(cluster, clients, &[1, 2], &[]);
    cluster.eventually("a late renewal to be taken", || renewed(clients[1])).unwrap();
    all_show(cluster, clients, &[1, 2], &[known()]);

    cluster.start(0).unwrap();
    cluster.eventually("a renewal through the node that came back", || renewed(clients[0])).unwrap();
    all_show(cluster, clients, &[0, 1, 2], &[known()]);
    assert_eq!(clients[2].call("Deregister", &tunnel("", "")), Ok(true));
    all_show(cluster, clients, &[0, 1, 2], &[]);
}

fn three<'a>(lab: &'a Lab, folder: &std::path::Path) -> Result<Cluster<'a>, portolan_netns::Missing> {
    Cluster::new(lab, folder, |_, start| start.set("gost.listen=127.0.0.1:8000").set("gost.ttl=15s"))
}

#[test]
fn over_http_on_three_nodes() {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = need!(three(&lab, folder.path()));
    cluster.form(3).unwrap();
    let [mut a, mut b, mut c] = [0, 1, 2].map(|at| Http::new(&lab.hosts[at], PLUGIN.into()));
    whole_life(&mut cluster, &mut [&mut a, &mut b, &mut c]);
}

#[test]
fn over_grpc_on_three_nodes() {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = need!(three(&lab, folder.path()));
    let mut clients = Vec::new();
    for host in &lab.hosts {
        clients.push(need!(Grpc::start(host, PLUGIN.into())));
    }
    cluster.form(3).unwrap();
    let mut clients: Vec<&mut dyn Client> =
        clients.iter_mut().map(|client| client as &mut dyn Client).collect();
    whole_life(&mut cluster, &mut clients);
}
