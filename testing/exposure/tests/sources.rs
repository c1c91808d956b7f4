//! A real Consul in trouble: it is gone, empty-handed, slow. What it wished last holds for a stated time, and not longer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::time::Duration;

use portolan_exposure::{Consul, Daemon, Guard, Home, need};

const SOURCE: &str =
    "[[consul]]\naddress = \"http://127.0.0.1:8500\"\nnode = \"lheureduthe\"\nonly_passing = false\n";
const WISHED: [&str; 2] = ["1337/tcp open", "1337/tcp>192.168.77.2:1337"];
const LEET: &str = "(diplonat (tcp_port 1337))";

#[test]
fn a_consul_that_is_slow_or_says_null_is_not_an_empty_one() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::tool("curl"));
    let mut consul = Consul::start(&home).unwrap();
    consul.register("leet", LEET).unwrap();
    let mut daemon = Daemon::start(&home, SOURCE).unwrap();
    daemon.exposes(&WISHED).unwrap();
    // Asked about a node that it does not know it says `null`, with status 200.
    consul.restart_as("another").unwrap();
    daemon.shows("does not know a node").unwrap();
    daemon.exposes(&WISHED).unwrap();
    // It is back, with an index lower than the one that was seen, and the service as it was.
    consul.restart().unwrap();
    consul.register("leet", LEET).unwrap();
    consul.register("other", "(diplonat (tcp_port 1400))").unwrap();
    daemon.mapped(&[WISHED[1], "1400/tcp>192.168.77.2:1400"]).unwrap();
    // Slow: it takes questions, and answers none for three refreshes.
    consul.stall().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    home.exposes_at_most(&["1337/tcp open", WISHED[1], "1400/tcp open", "1400/tcp>192.168.77.2:1400"])
        .unwrap();
    assert_eq!(home.mappings().unwrap().len(), 2);
    consul.go_on().unwrap();
    consul.deregister("other").unwrap();
    daemon.exposes(&WISHED).unwrap();
    consul.deregister("leet").unwrap();
    daemon.exposes(&[]).unwrap();
    daemon.stop().unwrap();
}

#[test]
fn what_a_consul_wished_ends_when_it_was_not_heard_for_the_stated_time() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::tool("curl"));
    let mut consul = Consul::start(&home).unwrap();
    consul.register("leet", LEET).unwrap();
    let mut daemon = Daemon::start(&home, &format!("{SOURCE}hold = \"4s\"\n")).unwrap();
    daemon.exposes(&WISHED).unwrap();
    consul.kill();
    daemon.shows("a source is not heard").unwrap();
    daemon.exposes(&[]).unwrap();
    consul.restart().unwrap();
    consul.register("leet", LEET).unwrap();
    daemon.exposes(&WISHED).unwrap();
    daemon.stop().unwrap();
    assert_eq!(home.exposed().unwrap(), Vec::<String>::new());
}
