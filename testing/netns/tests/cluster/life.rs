//! A cluster's ordinary life: it is made, grows, loses hosts and gets them back.

use portolan_netns::{Lab, Load, need};

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
