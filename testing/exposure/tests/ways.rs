//! A host with two routers, of two providers: it is mapped at both, and shown at the address of each that leads back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use peers::until;
use portolan_exposure::{Daemon, Home, LIMIT, NameServer, REGISTER, Second, WAN_ROUTER, need};

const NAME: &str = "www.example.test";
const MAPPED: [&str; 2] = ["8443/tcp>192.168.77.2:1337", "8443/tcp>192.168.78.2:1337"];

/// What is said on the client's host, by its shell.
fn inside(home: &Home, script: &str) {
    let output = home.inside("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What gives answers from the second address a route of their own.
const BACK: &str = "ip route add default via 192.168.78.1 metric 200 || true
    ip route replace 192.168.78.0/24 dev eth1 table 78
    ip route replace default via 192.168.78.1 table 78";

fn reaches(home: &Home, address: &str) -> bool {
    let url = format!("http://{address}:8443/");
    let curl = home.outside("curl").args(["-sf", "--max-time", "2", &url]).output();
    curl.is_ok_and(|out| out.stdout == b"leet")
}

#[test]
fn each_router_gets_its_mapping_and_names_lead_where_the_way_back_does() {
    let home = need!(Home::for_daemon(&["curl", "knotd", "dig"]));
    let names = NameServer::start(&home).unwrap();
    let second = home.second_router().unwrap();
    second.link_client(&home).unwrap();
    let _service = home.serve_web("0.0.0.0").unwrap();
    let mut daemon = Daemon::start(&home, &home.public_dns().unwrap()).unwrap();
    daemon.say(&REGISTER).unwrap();
    daemon.say(&["expose", "web", "--port", "8443:1337", "--name", NAME]).unwrap();
    let holds = |wanted: &[&str]| {
        let done = until(LIMIT, "the second router's mappings", || {
            second.mappings().is_ok_and(|held| held == wanted).then_some(())
        });
        done.unwrap_or_else(|timeout| panic!("{timeout}; {:?}\n{}", second.mappings(), daemon.said()));
    };
    holds(&MAPPED[1..]);
    daemon.mapped(&MAPPED[..1]).unwrap();
    // Whoever came in by the second one would be answered by the first.
    daemon.shows("answers from 192.168.78.2 leave by 192.168.77.1").unwrap();
    daemon.shows("web 8443/tcp -> 1337: open").unwrap();
    names.shows(NAME, "A", &[WAN_ROUTER]).unwrap();
    assert!(reaches(&home, WAN_ROUTER) && !reaches(&home, Second::OUTSIDE));

    inside(&home, &format!("{BACK}\nip rule add from 192.168.78.2 lookup 78"));
    names.shows(NAME, "A", &[WAN_ROUTER, Second::OUTSIDE]).unwrap();
    assert!(reaches(&home, WAN_ROUTER) && reaches(&home, Second::OUTSIDE));
    daemon.shows("public address: 45.83.0.1, 45.84.0.1").unwrap();

    // One line is cut, and comes back.
    inside(&home, "ip link set eth1 down");
    names.shows(NAME, "A", &[WAN_ROUTER]).unwrap();
    assert!(reaches(&home, WAN_ROUTER));
    inside(&home, &format!("ip link set eth1 up\n{BACK}"));
    names.shows(NAME, "A", &[WAN_ROUTER, Second::OUTSIDE]).unwrap();
    until(LIMIT, "the world to be let in again", || reaches(&home, Second::OUTSIDE).then_some(())).unwrap();

    daemon.say(&["unexpose", "web"]).unwrap();
    names.shows(NAME, "A", &[]).unwrap();
    daemon.mapped(&[]).unwrap();
    holds(&[]);
    daemon.stop().unwrap();
}
