//! A node in another home looks whether the world gets in, before any name leads there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use peers::until;
use portolan_exposure::{Daemon, Home, LIMIT, NameServer, WAN_ROUTER, need};

#[test]
fn a_name_waits_until_somebody_elsewhere_gets_in() {
    let home = need!(Home::for_daemon(&["curl", "knotd", "dig"]));
    let names = NameServer::start(&home).unwrap();
    // Something on the way drops it, of which neither host nor router knows.
    let wall = "add chain inet filter wall { type filter hook forward priority -5; }\n\
                add rule inet filter wall tcp dport 1337 drop";
    home.nft_at_router(wall).unwrap();
    let mesh = "site = \"rack\"\nmappings = false\n[mesh]\nadvertise = [\"45.83.0.2:8300\"]\n";
    let mut rented = Daemon::start_outside(&home, mesh).unwrap();
    let token = rented.init().unwrap();
    let ticket = rented.say(&["token", "create"]).unwrap();
    let dns = names.section(NameServer::KEY).unwrap();
    let mut house = Daemon::start(&home, &format!("site = \"attic\"\n{dns}")).unwrap();
    house.say(&["join", ticket.trim()]).unwrap();
    house.use_token(&token);
    let _service = home.serve_web("0.0.0.0").unwrap();
    // What answers nobody on its own host is not looked at from elsewhere.
    let answers = || {
        let curl = home.inside("curl").args(["-sf", "--max-time", "1", "http://192.168.77.2:1337/"]).output();
        curl.is_ok_and(|out| out.status.success()).then_some(())
    };
    until(LIMIT, "the service", answers).unwrap();
    let register = ["register", "web", "--port", "1337"];
    until(LIMIT, "the house to be a member", || house.say(&register).ok()).unwrap();
    house.say(&["expose", "web", "--port", "8443:1337", "--name", "www.example.test"]).unwrap();
    house.shows("node \"rented\" elsewhere does not get in").unwrap();
    house.shows("8443/tcp is not reached from outside").unwrap();
    assert!(names.answers("www.example.test", "A").is_empty());

    home.nft_at_router("flush chain inet filter wall").unwrap();
    house.shows("outside      holds    node \"rented\" elsewhere gets in").unwrap();
    names.shows("www.example.test", "A", &[WAN_ROUTER]).unwrap();
    house.stop().unwrap();
    rented.stop().unwrap();
}
