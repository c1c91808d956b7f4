//! IPv6: the router lets the world in to the host's own address, and the name says so.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use peers::until;
use portolan_exposure::{CLIENT_V6, Daemon, Guard, Home, LIMIT, NameServer, WAN_ROUTER, need};

/// True when somebody outside gets an answer from the host's own address.
fn reaches(home: &Home) -> bool {
    let url = format!("http://[{CLIENT_V6}]:1337/");
    let curl = home.outside("curl").args(["-sf", "-g", "--max-time", "1", &url]).output();
    curl.is_ok_and(|out| out.stdout == b"leet")
}

#[test]
fn a_pinhole_comes_and_goes_with_the_service() {
    let home = need!(Home::build(Guard::Nft));
    comes_and_goes(&home, "by PCP at");
}

#[test]
fn a_router_that_knows_pinholes_by_upnp_alone_opens_them_too() {
    let home = need!(Home::build(Guard::Nft));
    let deaf = "add chain inet filter deaf { type filter hook input priority 0; }\n\
                add rule inet filter deaf udp dport 5351 drop";
    home.nft_at_router(deaf).unwrap();
    comes_and_goes(&home, "by UPnP IGD 2 at");
}

fn comes_and_goes(home: &Home, by: &str) {
    need!(peers::portolan());
    need!(peers::python(&[]));
    for tool in ["curl", "knotd", "dig"] {
        need!(peers::tool(tool));
    }
    let names = NameServer::start(home).unwrap();
    let _service = home.serve_web("::").unwrap();
    let mut daemon = Daemon::start(home, &home.public_dns().unwrap()).unwrap();
    daemon.say(&["expose", "web", "--port", "1337", "--name", "www.example.test"]).unwrap();
    assert!(!reaches(home));
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
    daemon.shows("pinhole      holds").unwrap();
    daemon.shows(by).unwrap();
    names.shows("www.example.test", "AAAA", &[CLIENT_V6]).unwrap();
    names.shows("www.example.test", "A", &[WAN_ROUTER]).unwrap();
    until(LIMIT, "the world to reach the service", || reaches(home).then_some(()))
        .unwrap_or_else(|timeout| panic!("{timeout}\n{}", daemon.said()));

    daemon.say(&["unexpose", "web"]).unwrap();
    names.shows("www.example.test", "AAAA", &[]).unwrap();
    until(LIMIT, "the world to be kept out again", || (!reaches(home)).then_some(())).unwrap();
    // The host's own rules would hide a pinhole that was forgotten.
    let at_router = || {
        let nft = peers::tool("nft").ok()?;
        let listing =
            home.at_router(nft).args(["list", "chain", "inet", "filter", "miniupnpd"]).output().ok()?;
        (!String::from_utf8_lossy(&listing.stdout).contains("1337")).then_some(())
    };
    until(LIMIT, "the pinhole to go", at_router).unwrap();
    daemon.stop().unwrap();
}
