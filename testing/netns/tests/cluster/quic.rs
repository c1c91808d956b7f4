//! `quic://node/service`: through the mesh, even where an address would lead there.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::Stdio;

use portolan_netns::{Cluster, Host, Lab, need};

use crate::support::{NAMES, take_up};

/// Tells everybody who connects from which address that was.
fn mirror(host: &Host) {
    let listener = host.enter(|| TcpListener::bind((host.address, 7)).unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if let Ok(from) = stream.peer_addr() {
                let _ = write!(stream, "{}", from.ip());
            }
        }
    });
}

#[test]
fn a_node_is_asked_through_the_mesh_and_both_sides_judge() {
    let lab = need!(Lab::new(&NAMES[..2]));
    let folder = tempfile::tempdir().unwrap();
    let broker = folder.path().join("broker.sock");
    let mut cluster = need!(Cluster::new(&lab, folder.path(), |at, start| match at {
        0 => start.set(format!("broker.socket={}", broker.display())),
        _ => start,
    }));
    cluster.form(2).unwrap();
    let [here, there] = &lab.hosts[..] else { panic!("two hosts") };
    mirror(there);
    take_up(&cluster, 1, "mirror", &there.address.to_string(), 7);

    // What the service says, or how the command ends.
    let connect = |name: &str| {
        let mut command = here.command(peers::portolan().unwrap());
        command.args(["connect", name]).env("PORTOLAN_BROKER", &broker).stdin(Stdio::null());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said)
    };
    let comes_to = |name: &str, code: i32, said: &str| {
        let mut last = (None, String::new());
        let found = cluster.eventually(name, || {
            last = connect(name);
            (last.0 == Some(code) && last.1 == said).then_some(())
        });
        found.unwrap_or_else(|error| {
            panic!("{name} never came to {code} and {said:?} but to {last:?}: {error}")
        });
    };
    comes_to("mirror", 0, &here.address.to_string());
    comes_to("quic://b/mirror", 0, &there.address.to_string());
    // No such instance on that node, and no such service.
    assert_eq!(connect("quic://a/mirror").0, Some(5));
    assert_eq!(connect("quic://b/nothing").0, Some(3));

    // Only what comes in by the mesh is denied: the node that has the service says so.
    let denied = ["deny", "any", "mirror", "--scheme", "quic", "--first"];
    cluster.at(0).say(&denied).unwrap();
    comes_to("quic://b/mirror", 5, "");
    comes_to("mirror", 0, &here.address.to_string());
    // And what a program of this host asks for, here.
    cluster.at(0).say(&["deny", "any", "mirror", "--out", "--first"]).unwrap();
    comes_to("quic://b/mirror", 4, "");
    comes_to("mirror", 4, "");
}
