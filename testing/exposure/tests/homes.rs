//! Two homes of different providers, not of one cluster, show one name at a real name server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use peers::until;
use portolan_exposure::{Daemon, Home, LIMIT, NameServer, REGISTER, Second, WAN_ROUTER, need};

const NAME: &str = "www.example.test";

fn reaches(home: &Home, address: &str) -> Option<()> {
    let url = format!("http://{address}:8443/");
    let curl = home.outside("curl").args(["-sf", "--max-time", "2", &url]).output();
    curl.is_ok_and(|out| out.stdout == b"leet").then_some(())
}

#[test]
fn each_of_two_homes_adds_its_address_and_takes_back_its_own_alone() {
    let home = need!(Home::for_daemon(&["curl", "knotd", "dig"]));
    let names = NameServer::start(&home).unwrap();
    let second = home.second_router().unwrap();
    let cabin = second.neighbour(9).unwrap();
    let mut in_house = home.serve_web("0.0.0.0").unwrap();
    let _in_cabin = cabin.serve_web("0.0.0.0").unwrap();
    let dns = format!("pinholes = false\n{}group = \"fleet\"\n", home.public_dns().unwrap());
    let mut house = Daemon::start(&home, &dns).unwrap();
    let mut away = Daemon::start_on(&home, &cabin, "cabin", "60s", &dns).unwrap();
    for node in [&house, &away] {
        node.say(&REGISTER).unwrap();
        node.say(&["expose", "web", "--port", "8443:1337", "--name", NAME]).unwrap();
    }
    let both = [WAN_ROUTER, Second::OUTSIDE];
    let shown = |wanted: &[&str]| {
        let done = names.shows(NAME, "A", wanted);
        done.unwrap_or_else(|error| {
            panic!("{error}\n{:?}\n{:?}", house.say(&["exposures"]), away.say(&["exposures"]))
        });
    };
    shown(&both);
    for address in both {
        until(LIMIT, address, || reaches(&home, address)).unwrap();
    }
    // In one home the service fails: the name is the other's alone.
    in_house.kill();
    shown(&both[1..]);
    let _in_house = home.serve_web("0.0.0.0").unwrap();
    shown(&both);
    // The other home leaves; the last one takes the name away.
    away.stop().unwrap();
    names.shows(NAME, "A", &both[..1]).unwrap();
    until(LIMIT, "the home that is left", || reaches(&home, WAN_ROUTER)).unwrap();
    assert_eq!(second.mappings().unwrap(), Vec::<String>::new());
    house.say(&["unexpose", "web"]).unwrap();
    names.shows(NAME, "A", &[]).unwrap();
    names.shows("_portolan-a.www.example.test", "TXT", &[]).unwrap();
    house.stop().unwrap();
}
