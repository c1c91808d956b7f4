//! Disks that fill up, fail and rot.

use super::*;
use crate::sim::{Flaws, SimDisk};

fn start(disks: &(SimDisk, SimDisk), network: &Network, number: u64) -> Result<Node, LogError> {
    let config = small(PathBuf::new(), number, Begin::FoundWith((1..=3).map(identity).collect()));
    let (transport, links) = network.attach(server(number));
    let disks: (Arc<dyn Disk>, Arc<dyn Disk>) = (Arc::new(disks.0.clone()), Arc::new(disks.1.clone()));
    open_on(disks, &config, transport, links)
        .map(|opened| Node::read(opened, |node| node.see(|s| s.replayed)))
}

fn three() -> (Network, Vec<(SimDisk, SimDisk)>, Vec<Node>) {
    let network = Network::new();
    let disks: Vec<(SimDisk, SimDisk)> =
        (0..3).map(|i| (SimDisk::new(i, Flaws::default()), SimDisk::new(10 + i, Flaws::default()))).collect();
    let nodes = (1..=3).map(|number| start(&disks[number as usize - 1], &network, number).expect("it opens"));
    let nodes = nodes.collect();
    (network, disks, nodes)
}

fn append(node: &Node, from: u64, to: u64) {
    for i in from..=to {
        until("there is room", || node.log.append(Bytes::from(format!("x {i} {}", "y".repeat(900)))).is_ok());
        until("it is decided", || node.last() >= i);
    }
}

#[test]
fn a_disk_that_fails_stops_its_server_in_words_and_the_others_go_on() {
    for full in [true, false] {
        let (_network, disks, nodes) = three();
        append(&nodes[0], 1, 5);
        match full {
            true => disks[1].0.set_free(0),
            false => disks[1].0.fail_sync_after(3),
        }
        append(&nodes[0], 6, 700);
        until("it stops", || nodes[1].log.status().stopped.is_some());
        let said = nodes[1].see(|seen| seen.stopped.clone()).unwrap_or_default();
        assert!(said.contains("segment"), "what was attempted: {said}");
        assert!(
            nodes[1].log.append(Bytes::new()).is_err_and(|error| error.to_string().contains("has stopped"))
        );
        until("the third goes on", || nodes[2].last() >= 700);
        nodes.into_iter().for_each(Node::close);
    }
}

#[test]
fn damage_below_what_was_synced_is_not_started_from() {
    let (network, disks, nodes) = three();
    append(&nodes[0], 1, 20);
    nodes.into_iter().for_each(Node::close);
    let name = disks[0].0.contents().into_keys().find(|name| name.starts_with("segment")).expect("a segment");
    // In the first record: who this disk belongs to.
    disks[0].0.flip(&name, 8 * (4096 + 60));
    let refused = start(&disks[0], &network, 1).err().expect("it is refused");
    assert!(matches!(refused, LogError::Damaged { .. }), "{refused}");
}
