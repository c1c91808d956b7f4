//! Members of two versions, while a cluster is updated one node after the other.

use portolan_netns::{Cluster, Lab, need};
use serde_json::Value;

use crate::support::{NAMES, SECOND, all_keep, keep};

/// A build for tests says that it is this one; see `features` in `crates/cluster/src/init.rs`.
const LEVEL: &str = "PORTOLAN_TEST_FEATURES";
/// The version before tokens of Consul's kind.
const OLDER: u64 = 4;
const POLICY: &str = r#"{"Name":"readers","Rules":"key_prefix \"\" { policy = \"read\" }"}"#;

fn level(members: &Value, name: &str) -> Option<u64> {
    let members = members.as_array()?;
    members.iter().find(|member| member["Name"] == name)?["FeatureLevel"].as_u64()
}

#[test]
fn what_an_older_member_does_not_know_waits_until_it_is_updated() {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = need!(Cluster::new(&lab, folder.path(), |at, start| match at {
        2 => start.env(LEVEL, OLDER.to_string()),
        _ => start,
    }));
    cluster.form(3).unwrap();
    let members = cluster.at(0).get("/v1/portolan/members").unwrap();
    if level(&members, NAMES[2]) != Some(OLDER) {
        println!("skipped: a release tells nobody that it is an older one");
        return;
    }
    // All that both know goes on through every one of them.
    for at in 0..3 {
        keep(&cluster, at, 5 * at..5 * at + 5);
    }
    all_keep(&cluster, &[0, 1, 2], 15);
    // What one does not know is refused everywhere, and says because of whom.
    for at in 0..3 {
        let answer = cluster.at(at).ask(5 * SECOND, "PUT", "/v1/acl/policy", POLICY).unwrap();
        assert!(answer.status != 200, "{answer:?}");
        assert!(answer.body.contains(&format!("\"{}\"", NAMES[2])), "{answer:?}");
    }

    cluster.kill(2);
    cluster.change(2, |start| start.env(LEVEL, ""));
    cluster.start(2).unwrap();
    let updated = |members: &Value| level(members, NAMES[2]) == level(members, NAMES[0]);
    cluster.all_see(&[0, 1, 2], "/v1/portolan/members", updated).unwrap();
    for at in 0..3 {
        let policy = POLICY.replace("readers", &format!("readers-{at}"));
        let answer = cluster.at(at).ask(5 * SECOND, "PUT", "/v1/acl/policy", &policy).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}
