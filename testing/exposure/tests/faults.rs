//! Faults, each with what is said of it, and after each: nothing is exposed that nobody wishes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::time::{Duration, Instant};

use peers::until;
use portolan_exposure::{Daemon, Guard, Home, LIMIT, NameServer, Stun, WAN_ROUTER, need};

const WISHED: [&str; 2] = ["1337/tcp open", "8443/tcp>192.168.77.2:1337"];
const LOOK: &str = "[firewall]\nlook_every = \"1s\"\n";
const NAME: &str = "www.example.test";

fn wish(daemon: &Daemon<'_>) {
    daemon.say(&["expose", "web", "--port", "8443:1337", "--name", NAME]).unwrap();
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
}

#[test]
fn nothing_is_exposed_that_nobody_wishes_whatever_happens_to_the_router_and_the_rules() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::python(&[]));
    for tool in ["knotd", "dig"] {
        need!(peers::tool(tool));
    }
    let names = NameServer::start(&home).unwrap();
    let _stun = Stun::start(&home).unwrap();
    let before = home.ruleset().unwrap();
    let stun = format!("stun = [\"{}\"]\n", Stun::ADDRESS);
    let more = stun + &names.section(NameServer::KEY).unwrap() + LOOK;
    let mut daemon = Daemon::start(&home, &more).unwrap();
    wish(&daemon);
    daemon.exposes(&WISHED).unwrap();
    names.shows(NAME, "A", &[WAN_ROUTER]).unwrap();

    // No power at the router; then it is back, elsewhere and with nothing in its tables.
    home.forget_mappings().unwrap();
    daemon.shows("mapping      broken").unwrap();
    home.exposes_at_most(&WISHED).unwrap();
    home.restart_router().unwrap();
    daemon.exposes(&WISHED).unwrap();

    // It says another address than the world sees: a name would lead nowhere.
    home.claim_address("45.83.7.7").unwrap();
    names.shows(NAME, "A", &[]).unwrap();
    daemon.shows("no public IPv4 address is known").unwrap();
    home.exposes_at_most(&WISHED).unwrap();
    home.claim_address("").unwrap();
    names.shows(NAME, "A", &[WAN_ROUTER]).unwrap();

    // Somebody flushes our rules, and then all rules there are.
    home.nft_inside("flush chain inet host PORTOLAN").unwrap();
    daemon.exposes(&WISHED).unwrap();
    home.nft_inside("flush ruleset").unwrap();
    home.exposes_at_most(&WISHED).unwrap();
    home.nft_inside(before.as_str()).unwrap();
    daemon.exposes(&WISHED).unwrap();

    daemon.stop().unwrap();
    assert_eq!(home.exposed().unwrap(), Vec::<String>::new());
    names.shows(NAME, "A", &[]).unwrap();
}

#[test]
fn an_address_that_changes_takes_its_mappings_along() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    let mut daemon = Daemon::start_by_lease(&home, "6s", LOOK).unwrap();
    daemon.say(&["expose", "web", "--port", "8443:1337"]).unwrap();
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
    daemon.exposes(&WISHED).unwrap();
    home.move_client("192.168.77.2", "192.168.77.7").unwrap();
    // The router holds the port for the address that is gone, until that lease is over.
    daemon.exposes(&["1337/tcp open", "8443/tcp>192.168.77.7:1337"]).unwrap();
    daemon.stop().unwrap();
    assert_eq!(home.exposed().unwrap(), Vec::<String>::new());
}

#[test]
fn a_name_server_in_trouble_is_named_and_a_name_that_it_kept_goes_when_it_is_back() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    for tool in ["knotd", "dig"] {
        need!(peers::tool(tool));
    }
    let mut names = NameServer::start(&home).unwrap();
    let wrong = NameServer::KEY.replace("cG9ydG9sYW4t", "d3Jvbmctd3Jv");
    let section = names.section(&wrong).unwrap();
    let mut daemon = Daemon::start(&home, &section).unwrap();
    wish(&daemon);
    daemon.exposes(&WISHED).unwrap();
    daemon.shows("does not take our signature").unwrap();
    names.shows(NAME, "A", &[]).unwrap();
    daemon.kill();

    names.section(NameServer::KEY).unwrap();
    daemon.restart().unwrap();
    names.shows(NAME, "A", &[WAN_ROUTER]).unwrap();
    // It is away while the wish is taken back: the door is closed all the same, and the name goes when it can.
    names.stop();
    daemon.say(&["unexpose", "web"]).unwrap();
    daemon.exposes(&[]).unwrap();
    names.restart().unwrap();
    names.shows(NAME, "A", &[]).unwrap();
    daemon.stop().unwrap();
}

#[test]
fn power_may_go_at_any_step_both_ways() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    for tool in ["knotd", "dig"] {
        need!(peers::tool(tool));
    }
    let names = NameServer::start(&home).unwrap();
    let more = names.section(NameServer::KEY).unwrap() + LOOK;
    let mut daemon = Daemon::start(&home, &more).unwrap();
    wish(&daemon);
    let big = std::env::var_os("PORTOLAN_EXPOSURE_CUTS").is_some();
    let steps: &[u64] =
        if big { &[0, 5, 10, 20, 40, 60, 80, 120, 160, 240, 320, 480] } else { &[10, 60, 200] };
    for step_ms in steps {
        // A cut at some point of opening, and one at some point of closing. How far it came is chance; what holds
        // afterwards is not.
        std::thread::sleep(Duration::from_millis(*step_ms));
        daemon.kill();
        home.exposes_at_most(&WISHED).unwrap();
        daemon.restart().unwrap();
        daemon.exposes(&WISHED).unwrap();
        names.shows(NAME, "A", &[WAN_ROUTER]).unwrap();
        daemon.say(&["unexpose", "web"]).unwrap();
        std::thread::sleep(Duration::from_millis(*step_ms));
        daemon.kill();
        home.exposes_at_most(&WISHED).unwrap();
        daemon.restart().unwrap();
        daemon.exposes(&[]).unwrap();
        names.shows(NAME, "A", &[]).unwrap();
        wish(&daemon);
    }
    daemon.stop().unwrap();
    assert_eq!(home.exposed().unwrap(), Vec::<String>::new());
}

#[test]
fn a_router_that_went_silent_holds_nobody_up_and_what_stays_behind_is_said() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    let mut daemon = Daemon::start(&home, LOOK).unwrap();
    daemon.say(&["expose", "web", "--port", "8443:1337"]).unwrap();
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
    daemon.exposes(&WISHED).unwrap();
    // It takes packets and says nothing: nobody is told that there is nobody.
    home.nft_at_router("add chain inet filter mute { type filter hook input priority 0; policy drop; }")
        .unwrap();
    let begun = Instant::now();
    let said = daemon.stop_and_hear().unwrap();
    println!("closed in {:?}", begun.elapsed());
    assert!(said.contains("a mapping stays behind at a router that does not hear us"), "{said}");
    until(LIMIT, "the firewall to close", || (!home.ruleset().ok()?.contains("1337")).then_some(())).unwrap();
}
