//! A cluster's ordinary life: it is made, grows, loses hosts and gets them back.

use portolan_netns::{Cluster, Lab, Load, need};

use crate::support::{NAMES, all_keep, all_reach, formed, judge, keep, progress, register, web};

#[test]
fn it_is_made_loses_its_leader_grows_shrinks_and_starts_again_at_once() {
    let lab = need!(Lab::new(&NAMES));
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = need!(formed(&lab, folder.path()));
    lab.hosts.iter().for_each(|host| web(host, 80));
    for at in [0, 1, 2] {
        register(cluster.at(at));
    }
    all_reach(&cluster, &lab, &[0, 1, 2], &[0, 1, 2]);
    keep(&cluster, 1, 0..20);

    // The leader dies: the others go on, and its services come back with it.
    let load = Load::start(&lab.hosts[..3], cluster.token(), 2);
    progress(&cluster, &load, &[0, 1, 2], 20);
    let dead = cluster.leader_among(&[0, 1, 2]).unwrap();
    let alive: Vec<usize> = (0..3).filter(|at| *at != dead).collect();
    cluster.kill(dead);
    cluster.leader_among(&alive).unwrap();
    progress(&cluster, &load, &alive, 20);
    keep(&cluster, alive[0], 20..40);
    let name = format!("/v1/health/service/web-{}?passing", NAMES[dead]);
    cluster.all_see(&alive, &name, |found| found.as_array().is_some_and(Vec::is_empty)).unwrap();
    all_reach(&cluster, &lab, &alive, &alive);
    cluster.start(dead).unwrap();
    all_reach(&cluster, &lab, &[0, 1, 2], &[0, 1, 2]);
    all_keep(&cluster, &[0, 1, 2], 40);
    judge(load);

    // A fourth and a fifth.
    for at in [3, 4] {
        cluster.admit(at).unwrap();
    }
    for at in [3, 4] {
        register(cluster.at(at));
    }
    all_reach(&cluster, &lab, &[0, 1, 2, 3, 4], &[0, 1, 2, 3, 4]);
    all_keep(&cluster, &[3, 4], 40);
    keep(&cluster, 4, 40..60);

    // One leaves for good: nobody knows it any more, and it is let in nowhere.
    cluster.at(0).say(&["remove", NAMES[3]]).unwrap();
    let path = "/v1/portolan/members";
    let left = |members: &serde_json::Value| {
        let names: Vec<_> = members.as_array().unwrap().iter().map(|member| member["Name"].clone()).collect();
        names.len() == 4 && !names.contains(&NAMES[3].into())
    };
    cluster.all_see(&[0, 1, 2, 4], path, left).unwrap();
    cluster.kill(3);

    // The power fails everywhere.
    for at in [0, 1, 2, 4] {
        cluster.kill(at);
    }
    cluster.launch(&[0, 1, 2, 4]).unwrap();
    cluster.leader_among(&[0, 1, 2]).unwrap();
    all_keep(&cluster, &[0, 1, 2, 4], 60);
    all_reach(&cluster, &lab, &[0, 1, 2, 4], &[0, 1, 2, 4]);
    keep(&cluster, 4, 60..70);
    all_keep(&cluster, &[0, 1, 2, 4], 70);
}

/// Two vote while a third has not joined yet, or has not caught up. Then neither can be spared.
#[test]
fn of_two_that_vote_the_founder_is_lost_for_good_and_the_other_goes_on() {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = need!(Cluster::new(&lab, folder.path(), |_, start| start));
    cluster.form(2).unwrap();
    keep(&cluster, 0, 0..10);
    keep(&cluster, 1, 10..20);
    let recover = |cluster: &Cluster, without: &str| {
        let output = cluster.cli(1, &["recover", "--without", without]).unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    };
    cluster.kill(0);
    let (done, said) = recover(&cluster, "a");
    assert!(!done && said.contains("stop this node's daemon"), "{said}");
    cluster.kill(1);
    let (done, said) = recover(&cluster, "nobody");
    assert!(!done && said.contains("no server called"), "{said}");
    let (done, said) = recover(&cluster, "a");
    assert!(done && said.contains("who votes: b"), "{said}");
    cluster.start(1).unwrap();
    all_keep(&cluster, &[1], 20);
    keep(&cluster, 1, 20..30);
    cluster.admit(2).unwrap();
    keep(&cluster, 2, 30..35);

    // It was not lost after all: it finds that the others have gone on, and follows.
    cluster.start(0).unwrap();
    all_keep(&cluster, &[0, 1, 2], 35);
    let voters =
        |status: &serde_json::Value| status["Own"]["Voters"].as_array().is_some_and(|all| all.len() == 3);
    cluster.all_see(&[0, 1, 2], "/v1/portolan/status", voters).unwrap();
    keep(&cluster, 0, 35..40);
    all_keep(&cluster, &[0, 1, 2], 40);

    // Of three the other two may have more than one of them.
    cluster.kill(1);
    let (done, said) = recover(&cluster, "a");
    assert!(!done && said.contains("3 servers vote"), "{said}");
}
