//! Servers that die, come back, are cut off, join and leave.

use super::*;

fn command(text: &str, i: u64) -> Bytes {
    Bytes::from(format!("{text} {i}"))
}

#[test]
fn three_servers_agree_whoever_is_asked() {
    let cluster = Cluster::found(3);
    for i in 0..60 {
        cluster.append(1 + i % 3, command("x", i));
    }
    cluster.agree(60);
    let index = wait(cluster.node(2).log.barrier()).expect("a majority answers");
    assert!(index >= 60);
    let status = cluster.node(1).log.cluster();
    assert_eq!(status.configuration.as_ref().map(|known| known.members().len()), Some(3));
    assert!(status.votes() && cluster.node(1).log.status().engine == "paxos");
}

#[test]
fn the_leader_is_killed_and_what_was_under_way_is_decided_all_the_same() {
    let mut cluster = Cluster::found(3);
    cluster.append(1, "first");
    cluster.agree(1);
    for round in 0..3 {
        let leader = cluster.leader();
        let other = 1 + leader % 3;
        for i in 0..20 {
            cluster.append(other, command(&format!("round {round}"), i));
        }
        cluster.kill(leader);
        // Whatever was lost on the way is proposed again by the engine: nobody else could.
        let all =
            |seen: &Seen| (0..20).all(|i| seen.entries.contains(&command(&format!("round {round}"), i)));
        until("all is decided", || cluster.node(other).see(all));
        cluster.start(leader, Begin::Never);
        cluster.agree(cluster.node(other).last());
    }
}

#[test]
fn a_minority_starts_and_answers_and_decides_nothing() {
    let mut cluster = Cluster::found(3);
    for i in 0..10 {
        cluster.append(1, command("x", i));
    }
    cluster.agree(10);
    (1..=3).for_each(|number| cluster.stop(number));
    let mut config = cluster.config(2, Begin::Never);
    config.barrier_patience = Duration::from_millis(200);
    config.close_patience = Duration::from_millis(200);
    let alone = Node::start(&cluster.network, &config).expect("it opens without the others");
    assert_eq!(alone.last(), 10, "what was handed over before is handed over again");
    assert!(matches!(wait(alone.log.barrier()), Err(LogError::NoMajority { .. })));
    alone.log.append(Bytes::from_static(b"hopeless")).expect("it is queued");
    alone.close();
}

#[test]
fn an_empty_disk_is_refused_under_its_old_number() {
    let mut cluster = Cluster::found(3);
    cluster.append(1, "first");
    cluster.agree(1);
    cluster.stop(3);
    std::fs::remove_dir_all(cluster.dir.path().join("3")).expect("it is removed");
    let (transport, links) = cluster.network.attach(server(3));
    let refused = open(&cluster.config(3, Begin::Never), transport, links).err().expect("it is refused");
    assert!(refused.to_string().contains("join anew"), "{refused}");
    cluster.start(3, Begin::Join);
    let refused = |number| cluster.node(number).log.cluster().refused.contains_key(&server(3));
    until("the others refuse it", || refused(1) && refused(2));
    cluster.append(1, "second");
    until("the others go on", || cluster.node(1).last() == 2 && cluster.node(2).last() == 2);
    assert_eq!(cluster.node(3).last(), 0, "it is told nothing");
    let identity = cluster.node(3).log.cluster().me;
    let error = wait(cluster.node(1).log.add_server(identity)).expect_err("it cannot be added either");
    assert!(matches!(error, ChangeError::OtherDisk(_)), "{error}");
}

#[test]
fn one_server_grows_to_three_and_a_dead_one_is_replaced() {
    let mut cluster = Cluster {
        dir: tempfile::tempdir().expect("a directory"),
        network: Network::new(),
        nodes: Vec::new(),
    };
    cluster.start(1, Begin::Found);
    for i in 0..150 {
        cluster.append(1, command("alone", i));
    }
    // So that what the newcomers need first is a checkpoint.
    cluster.agree(150);
    let state = Box::new(|out: &mut dyn std::io::Write| out.write_all(&[7; 100_000]));
    wait(cluster.node(1).log.save_checkpoint(140, state)).expect("saved");
    for number in [2, 3] {
        cluster.start(number, Begin::Join);
        let identity = cluster.node(number).log.cluster().me;
        wait(cluster.node(1).log.add_server(identity)).expect("it is added");
        assert!(cluster.node(number).last() >= 150 || number == 2, "nobody votes without the state");
    }
    cluster.agree(150);
    assert!(cluster.node(3).see(|seen| seen.restores.contains(&140)));
    cluster.append(3, "from the newest");
    cluster.agree(151);

    cluster.kill(1);
    cluster.append(2, "without the first");
    until("two go on", || cluster.node(2).last() == 152 && cluster.node(3).last() == 152);
    cluster.start(4, Begin::Join);
    let identity = cluster.node(4).log.cluster().me;
    // Asked of servers that may not lead.
    wait(cluster.node(2).log.add_server(identity)).expect("it is added");
    wait(cluster.node(3).log.remove_server(server(1))).expect("it is removed");
    cluster.append(4, "last");
    cluster.agree(153);
    let members = cluster.node(4).log.cluster().configuration.expect("there is one");
    assert_eq!(members.servers().collect::<Vec<_>>(), [2, 3, 4].map(server));
}

#[test]
fn a_leader_leaves_in_order_and_follows() {
    let cluster = Cluster::found(3);
    cluster.append(1, "first");
    cluster.agree(1);
    let leader = cluster.leader();
    wait(cluster.node(leader).log.remove_server(server(leader))).expect("it leaves");
    let other = 1 + leader % 3;
    cluster.append(other, "second");
    cluster.append(leader, "from one that follows");
    cluster.agree(3);
    until("it may be switched off", || cluster.node(leader).log.cluster().released);
    assert_eq!(cluster.node(leader).log.status().engine, "follow");
    assert!(wait(cluster.node(leader).log.barrier()).expect("through the others") >= 3);
}

#[test]
fn a_follower_moves_on_when_its_server_goes_and_restarts_without_any() {
    let mut cluster = Cluster::found(3);
    cluster.start(4, Begin::Join);
    for i in 0..30 {
        cluster.append(4, command("x", i));
    }
    cluster.agree(30);
    let source = cluster.node(4).log.cluster().fetching_from.expect("it follows somebody");
    cluster.kill(source.0);
    for i in 0..5 {
        cluster.append(4, command("y", i));
    }
    until("it goes on", || cluster.node(4).last() >= 35);
    assert_ne!(cluster.node(4).log.cluster().fetching_from, Some(source));
    (1..=4).filter(|number| *number != source.0).for_each(|number| cluster.stop(number));
    cluster.start(4, Begin::Never);
    assert!(cluster.node(4).last() >= 35, "its own copy is enough");
}

#[test]
fn a_server_that_was_cut_off_catches_up_by_checkpoint() {
    let cluster = Cluster::found(3);
    cluster.append(1, "first");
    cluster.agree(1);
    let away = 1 + cluster.leader() % 3;
    let others: Vec<u64> = (1..=3).filter(|number| *number != away).collect();
    cluster.network.isolate(server(away));
    for i in 0..400 {
        cluster.append(others[0], command("x", i));
    }
    for number in &others {
        until("the others go on", || cluster.node(*number).last() >= 401);
        let state = Box::new(|out: &mut dyn std::io::Write| out.write_all(&[1; 300_000]));
        wait(cluster.node(*number).log.save_checkpoint(400, state)).expect("saved");
    }
    cluster.network.heal_all();
    cluster.agree(401);
    assert!(cluster.node(away).see(|seen| seen.restores == [400]));
}

#[test]
fn who_has_no_majority_in_sight_says_so_and_whoever_has_one_does_not() {
    let cluster = Cluster::found(3);
    cluster.append(1, "first");
    cluster.agree(1);
    let cut_off = |cluster: &Cluster, number: u64| cluster.node(number).log.status().cut_off;
    for _ in 0..2 {
        let leader = cluster.leader();
        until("everybody is in contact", || (1..=3).all(|number| !cut_off(&cluster, number)));
        cluster.network.isolate(server(leader));
        until("the old leader is cut off", || cut_off(&cluster, leader));
        until("the others are not", || (1..=3).all(|number| number == leader || !cut_off(&cluster, number)));
        cluster.network.heal_all();
    }
}
