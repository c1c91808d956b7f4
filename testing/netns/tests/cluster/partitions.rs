//! Networks fail in every way that they do, under clients whose history is judged afterwards.

use std::time::Duration;

use portolan_netns::{Cluster, Lab, Link, Load, need};

use crate::support::{SECOND, all_keep, formed, judge, keep, progress};

/// Breaks the network between three members, waits until those go on that must, heals it, and waits until all do.
fn under(fault: impl Fn(&Lab, usize, [usize; 2]), goes_on: impl Fn(usize, [usize; 2]) -> Vec<usize>) {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    let folder = tempfile::tempdir().unwrap();
    let cluster = need!(formed(&lab, folder.path()));
    keep(&cluster, 0, 0..10);
    let load = Load::start(&lab.hosts, cluster.token(), 2);
    progress(&cluster, &load, &[0, 1, 2], 10);
    for _ in 0..2 {
        let leader = cluster.leader_among(&[0, 1, 2]).unwrap();
        let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
        let others = [others[0], others[1]];
        fault(&lab, leader, others);
        progress(&cluster, &load, &goes_on(leader, others), 30);
        lab.switch.heal();
        progress(&cluster, &load, &[0, 1, 2], 30);
    }
    all_keep(&cluster, &[0, 1, 2], 10);
    judge(load);
}

#[test]
fn the_leader_is_cut_off() {
    under(|lab, leader, _| lab.switch.split(&[leader]), |_, others| others.to_vec());
}

#[test]
fn a_follower_is_cut_off() {
    under(|lab, _, [one, _]| lab.switch.split(&[one]), |leader, [_, other]| vec![leader, other]);
}

#[test]
fn the_leader_is_heard_and_does_not_hear() {
    let deaf = |lab: &Lab, leader, others: [usize; 2]| {
        others.iter().for_each(|other| lab.switch.set(*other, leader, Link::CUT));
    };
    under(deaf, |_, others| others.to_vec());
}

#[test]
fn the_leader_hears_and_is_not_heard() {
    let mute = |lab: &Lab, leader, others: [usize; 2]| {
        others.iter().for_each(|other| lab.switch.set(leader, *other, Link::CUT));
    };
    under(mute, |_, others| others.to_vec());
}

#[test]
fn only_the_leader_sees_both_others() {
    under(
        |lab, _, [one, other]| lab.switch.set_both(one, other, Link::CUT),
        |leader, [one, other]| vec![leader, one, other],
    );
}

#[test]
fn only_one_follower_sees_both_others() {
    // Whoever leads in the end must be the one in the middle, or have a majority with it.
    under(
        |lab, leader, [_, other]| lab.switch.set_both(leader, other, Link::CUT),
        |_, [middle, _]| vec![middle],
    );
}

#[test]
fn frames_are_lost_and_late_on_every_link() {
    let bad = Link {
        loss: 0.05,
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(20),
        ..Link::FINE
    };
    under(move |lab, _, _| lab.switch.set_all(bad), |leader, [one, other]| vec![leader, one, other]);
}

/// A member without a majority answers what it knows, says how old that is, and decides nothing.
#[test]
fn a_minority_keeps_answering_and_says_that_it_is_stale() {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    let folder = tempfile::tempdir().unwrap();
    let cluster = need!(formed(&lab, folder.path()));
    keep(&cluster, 0, 0..1);
    all_keep(&cluster, &[0, 1, 2], 1);
    let alone = cluster.leader_among(&[0, 1, 2]).unwrap();
    let other = (alone + 1) % 3;
    lab.switch.split(&[alone]);
    keep(&cluster, other, 1..2);

    let stale = |cluster: &Cluster| {
        let answer = cluster.at(alone).ask(SECOND, "GET", "/v1/kv/kept/00000?raw&stale", "").ok()?;
        assert_eq!((answer.status, &*answer.body), (200, "x"), "it stopped answering");
        let says = |name: &str| answer.header(name).unwrap_or_default().to_owned();
        let (known, ago) = (says("x-consul-knownleader"), says("x-consul-lastcontact"));
        (known == "false" && ago.parse().is_ok_and(|ms: u64| ms > 1000)).then_some(())
    };
    cluster.eventually("the minority to say that it is stale", || stale(&cluster)).unwrap();
    let consistent = cluster.at(alone).ask(20 * SECOND, "GET", "/v1/kv/kept/00000?raw&consistent", "");
    assert!(!consistent.is_ok_and(|answer| answer.status == 200), "a minority cannot know what is decided");
    let write = cluster.at(alone).ask(2 * SECOND, "PUT", "/v1/kv/lost", "x");
    assert!(!write.is_ok_and(|answer| answer.status == 200), "a minority acknowledged a write");

    lab.switch.heal();
    all_keep(&cluster, &[0, 1, 2], 2);
}
