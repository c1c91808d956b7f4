//! Clients inside the home are told where a public name is there, since this router leads nobody round.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::process::Command;

use peers::until;
use portolan_exposure::{Daemon, Home, LAN_CLIENT, LIMIT, NameServer, REGISTER, WAN_ROUTER, need};

const PORT: &str = "8600";

/// Answers in the home and forwards the rest for it; that there was no such name before is not kept.
const DNS: &str = "[dns]\nlisten = [\"127.0.0.1:8600\", \"192.168.77.2:8600\"]\n\
                   [dns.forward]\nenabled = true\nto = [\"45.83.0.2:5353\"]\nallow = [\"192.168.77.0/24\"]\ncache_entries = 0\n";

/// What a server says of a name, in `dig`'s words.
fn dig(mut dig: Command, server: &str, options: &[&str]) -> String {
    let fixed = ["-p", PORT, "+tries=1", "+time=2"];
    let output = dig.arg(format!("@{server}")).args(fixed).args(options).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Waits until it says exactly this.
fn says(what: &str, wanted: &str, ask: impl Fn() -> String) {
    let mut last = String::new();
    let done = until(LIMIT, what, || {
        last = ask();
        (last == wanted).then_some(())
    });
    done.unwrap_or_else(|timeout| panic!("{timeout}: it was {last:?}"));
}

#[test]
fn clients_inside_get_an_address_there_and_those_outside_do_not() {
    let home = need!(Home::for_daemon(&["curl", "knotd", "dig", "nft"]));
    let tool = peers::tool("dig").unwrap();
    let names = NameServer::start(&home).unwrap();
    let neighbour = home.neighbour(9).unwrap();
    let mut service = home.serve_web("0.0.0.0").unwrap();
    // The name server of the home is heard, also outside: that is what must not matter.
    home.nft_inside("add rule inet host input meta l4proto { tcp, udp } th dport 8600 accept").unwrap();
    home.nft_at_router("insert rule inet filter forward meta l4proto { tcp, udp } th dport 8600 accept")
        .unwrap();
    let route = ["route", "add", "192.168.77.0/24", "via", WAN_ROUTER];
    assert!(home.outside("ip").args(route).status().unwrap().success());

    let mut daemon = Daemon::start(&home, &format!("{DNS}{}", home.public_dns().unwrap())).unwrap();
    daemon.say(&REGISTER).unwrap();
    daemon.say(&["expose", "web", "--port", "1337", "--name", "www.example.test"]).unwrap();
    let www = |options: &[&str]| {
        dig(neighbour.run(&tool), LAN_CLIENT, &[&["www.example.test"][..], options].concat())
    };
    says("a neighbour's answer", LAN_CLIENT, || www(&["+short"]));
    says("the same by TCP", LAN_CLIENT, || www(&["+short", "+tcp"]));
    says("this host's answer", LAN_CLIENT, || {
        dig(home.inside(&tool), "127.0.0.1", &["+short", "www.example.test"])
    });
    daemon.shows("inside       holds    www.example.test is 192.168.77.2 for clients in this home").unwrap();
    names.shows("www.example.test", "A", &[WAN_ROUTER]).unwrap();
    // There the service is; at the router's address it is for the world alone.
    let reaches = |at: &str| {
        let resolve = format!("www.example.test:1337:{at}");
        let mut curl = neighbour.run("curl");
        let curl =
            curl.args(["-sf", "--max-time", "2", "--resolve", &resolve, "http://www.example.test:1337/"]);
        curl.output().is_ok_and(|out| out.stdout == b"leet")
    };
    until(LIMIT, "a neighbour to reach the service", || reaches(LAN_CLIENT).then_some(())).unwrap();
    assert!(!reaches(WAN_ROUTER), "this router leads its neighbours round, and the test proves nothing");
    // Outside, the same server knows no such name.
    let plain = ["+nocmd", "+noall", "+comments", "+answer", "www.example.test"];
    let outside = dig(home.outside(&tool), LAN_CLIENT, &plain);
    assert!(outside.contains("status: REFUSED") && !outside.contains("192.168.77"), "{outside}");

    // Other ports inside: the name leads to the router for everybody, and that is said.
    daemon.say(&["expose", "web", "--port", "8443:1337", "--name", "www.example.test"]).unwrap();
    daemon
        .shows("inside       none     www.example.test is not answered in this home: 8443/tcp is port 1337")
        .unwrap();
    names.shows("www.example.test", "A", &[WAN_ROUTER]).unwrap();
    says("the public answer", WAN_ROUTER, || www(&["+short"]));

    // As everything else, the answer goes with the service.
    daemon.say(&["expose", "web", "--port", "1337", "--name", "www.example.test"]).unwrap();
    says("a neighbour's answer again", LAN_CLIENT, || www(&["+short"]));
    service.kill();
    daemon.shows("is critical").unwrap();
    let gone = || (!www(&["+short"]).contains(LAN_CLIENT)).then_some(());
    until(LIMIT, "the answer to go", gone).unwrap();
    daemon.stop().unwrap();
}
