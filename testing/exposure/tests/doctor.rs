//! What the doctor says in each trouble, and what goes on without the rights to do all.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use portolan_exposure::{Daemon, Guard, Home, Stun, WAN_ROUTER, need};

/// What it finds of one kind, and how it ends.
fn doctor(home: &Home, more: &[&str]) -> (i32, String) {
    let mut command = home.inside(peers::portolan().unwrap());
    let output = command.args(["--api", "127.0.0.1:8510", "doctor"]).args(more).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), said + &errors)
}

fn says(said: &str, words: &[&str]) {
    let has = |line: &str| words.iter().all(|word| line.contains(word));
    assert!(said.lines().any(has), "no line with {words:?} in\n{said}");
}

#[test]
fn the_doctor_names_the_true_cause() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::python(&[]));
    let stun = Stun::start(&home).unwrap();
    let (code, said) = doctor(&home, &["--stun", Stun::ADDRESS]);
    says(&said, &["router", "good", "UPnP IGD", "PCP", "NAT-PMP"]);
    says(&said, &["firewall", "good", "nft inet host input"]);
    says(&said, &["outside", "good", WAN_ROUTER]);
    says(&said, &["nat", "good", "one NAT"]);
    says(&said, &["daemon", "warning", "start it: portolan serve"]);
    assert_eq!(code, 6, "{said}");
    // A router that lies about its address: another one stands before it.
    home.claim_address("45.83.7.7").unwrap();
    let (code, said) = doctor(&home, &["--stun", Stun::ADDRESS]);
    says(&said, &["nat", "bad", "double NAT", "45.83.7.7", WAN_ROUTER, "outer router"]);
    assert_eq!(code, 1, "{said}");
    drop(stun);
    home.stop_router();
    let (code, said) = doctor(&home, &["--stun", Stun::ADDRESS]);
    says(&said, &["router", "bad", "no router answers", "switch one of them on"]);
    says(&said, &["outside", "warning", "did not answer"]);
    assert_eq!(code, 1, "{said}");
}

#[test]
fn a_name_is_not_shown_behind_two_routers_unless_somebody_knows_better() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::python(&[]));
    let _stun = Stun::start(&home).unwrap();
    home.claim_address("45.83.7.7").unwrap();
    let more = format!("stun = [\"{}\"]\n", Stun::ADDRESS);
    let mut daemon = Daemon::start(&home, &more).unwrap();
    daemon.say(&["expose", "web", "--port", "8443:1337", "--name", "www.example.test"]).unwrap();
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
    daemon.mapped(&["8443/tcp>192.168.77.2:1337"]).unwrap();
    let problems = || daemon.say(&["exposures", "--output", "json"]).unwrap_or_default();
    let found = peers::until(portolan_exposure::LIMIT, "the verdict", || {
        problems().contains("double NAT: the router's own address is 45.83.7.7").then_some(())
    });
    found.unwrap_or_else(|timeout| panic!("{timeout}\n{}", problems()));
    daemon.stop().unwrap();
}

#[test]
fn the_daemon_itself_may_not_change_the_network_and_its_guard_may() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    let mut daemon = Daemon::start(&home, "").unwrap();
    daemon.say(&["expose", "web", "--port", "8443:1337"]).unwrap();
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
    daemon.shows("lets 1337/tcp in").unwrap();
    assert!(home.ruleset().unwrap().contains("1337"));
    // CAP_NET_ADMIN is number 12, of all threads.
    let rights = daemon.rights().unwrap();
    assert!(!rights.is_empty() && rights.iter().all(|set| set & (1 << 12) == 0), "{rights:x?}");
    daemon.stop().unwrap();
    assert!(!home.ruleset().unwrap().contains("PORTOLAN"));
}

#[test]
fn without_the_right_all_but_the_firewall_works_and_that_is_said() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    let setpriv = need!(peers::tool("setpriv"));
    let wrap =
        [setpriv.display().to_string(), "--bounding-set=-net_admin".into(), "--inh-caps=-net_admin".into()];
    let mut daemon = Daemon::start_by(&home, &wrap, "").unwrap();
    daemon.say(&["expose", "web", "--port", "8443:1337"]).unwrap();
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
    daemon.mapped(&["8443/tcp>192.168.77.2:1337"]).unwrap();
    daemon.shows("give it CAP_NET_ADMIN").unwrap();
    assert!(!home.ruleset().unwrap().contains("1337"));
    daemon.stop().unwrap();
}
