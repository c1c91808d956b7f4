//! A home behind a carrier's NAT: its service is reached at a rented machine's public address, over the mesh.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use peers::{Running, until};
use portolan_exposure::{Daemon, Home, LIMIT, REGISTER_INSIDE, need};

/// What somebody outside gets from the rented machine.
fn reaches(home: &Home) -> bool {
    asks(home, "http://45.83.0.2:8443/")
}

fn asks(home: &Home, url: &str) -> bool {
    let curl = home.at_router("curl").args(["-sf", "--max-time", "2", url]).output();
    curl.is_ok_and(|out| out.stdout == b"leet")
}

#[test]
fn a_home_that_nobody_can_reach_is_reached_through_a_rented_machine() {
    let home = need!(Home::for_daemon(&["curl"]));
    // No mapping can be made, and the rented machine has its public address itself.
    home.stop_router();
    let route = home.outside("ip").args(["route", "add", "default", "via", "45.83.0.1"]).output().unwrap();
    assert!(route.status.success(), "{}", String::from_utf8_lossy(&route.stderr));
    let mesh = "[mesh]\nadvertise = [\"45.83.0.2:8300\"]\n";
    let mut rented = Daemon::start_outside(&home, mesh).unwrap();
    let token = rented.init().unwrap();
    let ticket = rented.say(&["token", "create"]).unwrap();

    let mut house = Daemon::start(&home, "mappings = false\npinholes = false\n").unwrap();
    house.say(&["join", ticket.trim()]).unwrap();
    house.use_token(&token);
    let mut service = home.serve_web("127.0.0.1").unwrap();
    until(LIMIT, "the house to be a member", || house.say(&REGISTER_INSIDE).ok()).unwrap();
    house.say(&["expose", "web", "--port", "8443", "--via", "rented"]).unwrap();
    rented.shows("web 8443/tcp -> 8443: open tcp://45.83.0.2:8443").unwrap();
    rented.shows("over the mesh").unwrap();
    house.shows("node \"rented\" exposes it").unwrap();
    until(LIMIT, "the world to reach the service", || reaches(&home).then_some(()))
        .unwrap_or_else(|timeout| panic!("{timeout}\n{}\n{}", rented.said(), house.said()));
    until(LIMIT, "the same by IPv6", || asks(&home, "http://[2a0d:db8:99::2]:8443/").then_some(())).unwrap();
    home.exposes_at_most(&[]).unwrap();

    service.kill();
    rented.shows("is critical").unwrap();
    let refused = || (!reaches(&home)).then_some(());
    until(LIMIT, "the door to close", refused).unwrap();
    let _service = home.serve_web("127.0.0.1").unwrap();
    until(LIMIT, "the world to reach the service again", || reaches(&home).then_some(())).unwrap();
    house.say(&["unexpose", "web"]).unwrap();
    until(LIMIT, "the door to close for good", refused).unwrap();

    // Where somebody else listens, nothing is opened, and it is said.
    let mut other = Running::start(home.outside("python3").args(["-m", "http.server", "8443"])).unwrap();
    let answers = || home.outside("curl").args(["-s", "--max-time", "2", "http://127.0.0.1:8443/"]).output();
    let is_up = || answers().is_ok_and(|out| out.status.success());
    other.wait_until(LIMIT, "somebody else to listen", is_up).unwrap();
    house.say(&["expose", "web", "--port", "8443", "--via", "rented"]).unwrap();
    rented.shows("service      broken   listen on 8443/tcp for \"web\"").unwrap();
    rented.shows("firewall     waiting  closed").unwrap();
    other.kill();
    until(LIMIT, "the door to open all the same", || reaches(&home).then_some(())).unwrap();
    house.stop().unwrap();
    rented.stop().unwrap();
}
