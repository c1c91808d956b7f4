//! Names that a host left behind, which was set up anew: found and taken away by the command line.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use portolan_exposure::{Daemon, Home, NameServer, REGISTER, WAN_ROUTER, need};

const LEFT: &str = "left.example.test";
const KEPT: &str = "kept.example.test";

#[test]
fn names_that_nobody_wishes_any_more_are_listed_and_removed() {
    let home = need!(Home::for_daemon(&["knotd", "dig"]));
    let names = NameServer::start(&home).unwrap();
    let _service = home.serve_web("0.0.0.0").unwrap();
    let mut daemon = Daemon::start(&home, &home.public_dns().unwrap()).unwrap();
    let config = daemon.config().display().to_string();
    let orphans = |daemon: &Daemon<'_>, more: &[&str]| {
        daemon.say(&[&["orphans", "--config", &config][..], more].concat()).unwrap()
    };
    let wish = |daemon: &Daemon<'_>, name| {
        daemon.say(&REGISTER).unwrap();
        daemon.say(&["expose", "web", "--port", "1337", "--name", name]).unwrap();
    };
    wish(&daemon, LEFT);
    names.shows(LEFT, "A", &[WAN_ROUTER]).unwrap();
    assert!(orphans(&daemon, &[]).contains("no public name is left behind"));

    // Its disk is lost, and with it what it knew of the name.
    daemon.kill();
    std::fs::remove_dir_all(daemon.data_dir()).unwrap();
    daemon.restart().unwrap();
    wish(&daemon, KEPT);
    names.shows(KEPT, "A", &[WAN_ROUTER]).unwrap();
    names.shows(LEFT, "A", &[WAN_ROUTER]).unwrap();
    let listed = orphans(&daemon, &[]);
    assert!(listed.contains(LEFT) && listed.contains("orphan") && !listed.contains(KEPT), "{listed}");
    let all = orphans(&daemon, &["--all"]);
    let kept = all.lines().find(|line| line.contains(KEPT)).unwrap_or_default();
    assert!(kept.contains("house") && kept.contains("wished"), "{all}");

    let removed = orphans(&daemon, &["--remove"]);
    assert!(removed.contains(LEFT) && removed.contains("removed"), "{removed}");
    names.shows(LEFT, "A", &[]).unwrap();
    names.shows(KEPT, "A", &[WAN_ROUTER]).unwrap();
    assert!(orphans(&daemon, &[]).contains("no public name is left behind"));
    daemon.stop().unwrap();
}
