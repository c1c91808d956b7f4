//! A router that does what routers do: each of its manners is told by its true cause, and after each nothing is exposed
//! that nobody wishes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use portolan_exposure::{Daemon, Guard, Home, Misbehaving, need};

const WISHED: [&str; 2] = ["1337/tcp open", "8443/tcp>192.168.77.2:1337"];

/// Manner, what is told of it, and whether the port is mapped all the same.
const MANNERS: [(&str, &str, bool); 11] = [
    ("725", "without an end, by UPnP IGD", true),
    ("501", "without an end, by UPnP IGD", true),
    ("402", "8443/tcp to 192.168.77.2:1337, 60", true),
    ("718", "the port is held by another host or the router itself (error 718", false),
    ("606", "the router does not allow it (error 606", false),
    ("lies", "its own address 100.64.0.9 is not public", true),
    ("redirect", "no router answers", false),
    ("location", "no router answers", false),
    ("megabyte", "no router answers", false),
    ("entities", "no router answers", false),
    ("hangs", "no router answers", false),
];

/// Those that cost seconds are for the long run.
const QUICK: usize = 8;

#[test]
fn each_manner_of_a_router_is_told_and_leaves_nothing_open() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::python(&[]));
    let router = Misbehaving::start(&home).unwrap();
    let look = "[firewall]\nlook_every = \"1s\"\n";
    let is_long = std::env::var_os("PORTOLAN_EXPOSURE_CUTS").is_some();
    for (manner, told, is_mapped) in &MANNERS[..if is_long { MANNERS.len() } else { QUICK }] {
        // A new life each time: what a router refused once is remembered.
        let mut daemon = Daemon::start(&home, look).unwrap();
        daemon.say(&["register", "web", "--port", "1337"]).unwrap();
        router.mood(manner).unwrap();
        daemon.say(&["expose", "web", "--port", "8443:1337"]).unwrap();
        let fine = daemon.tells(told);
        fine.unwrap_or_else(|error| panic!("{manner}: {error}"));
        home.exposes_at_most(&WISHED).unwrap();
        if *is_mapped {
            daemon.exposes(&WISHED).unwrap();
        }
        // Nobody wishes it any more, while the router is as it is: the host's own door closes at once.
        daemon.say(&["unexpose", "web"]).unwrap();
        let closed = || (!home.ruleset().ok()?.contains("1337")).then_some(());
        peers::until(portolan_exposure::LIMIT, "the firewall to close", closed).unwrap();
        router.mood("").unwrap();
        daemon.exposes(&[]).unwrap();
        daemon.stop().unwrap();
        println!("figure: {manner}: told as \"{told}\", nothing left");
    }
    assert_eq!(home.exposed().unwrap(), Vec::<String>::new());
}

#[test]
fn a_router_that_begins_to_misbehave_keeps_nothing_that_is_not_wished() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::python(&[]));
    let router = Misbehaving::start(&home).unwrap();
    let mut daemon = Daemon::start(&home, "[firewall]\nlook_every = \"1s\"\n").unwrap();
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
    daemon.say(&["expose", "web", "--port", "8443:1337"]).unwrap();
    daemon.exposes(&WISHED).unwrap();
    // What it granted holds, and is said to be in doubt.
    router.mood("redirect").unwrap();
    daemon.tells("no router answers").unwrap();
    home.exposes_at_most(&WISHED).unwrap();
    // Taken back while nobody can be told: the mapping goes as soon as somebody can.
    daemon.say(&["unexpose", "web"]).unwrap();
    let closed = || (!home.ruleset().ok()?.contains("1337")).then_some(());
    peers::until(portolan_exposure::LIMIT, "the firewall to close", closed).unwrap();
    router.mood("").unwrap();
    daemon.exposes(&[]).unwrap();
    daemon.stop().unwrap();
}
