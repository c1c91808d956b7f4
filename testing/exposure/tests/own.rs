//! Wishes of our own, carried out by the ordinary daemon: firewall, router and name follow the service.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use peers::until;
use portolan_exposure::{Consul, Daemon, Guard, Home, LIMIT, NameServer, REGISTER, WAN_ROUTER, need};

const MAPPED: &str = "8443/tcp>192.168.77.2:1337";

/// True when somebody outside gets an answer by the public name.
fn reaches(home: &Home) -> bool {
    let resolve = format!("www.example.test:8443:{WAN_ROUTER}");
    let args = ["-sf", "--max-time", "1", "--resolve", &resolve, "http://www.example.test:8443/"];
    home.outside("curl").args(args).output().is_ok_and(|out| out.stdout == b"leet")
}

#[test]
fn a_door_follows_the_health_of_its_service() {
    let home = need!(Home::for_daemon(&["curl", "knotd", "dig"]));
    let names = NameServer::start(&home).unwrap();
    let before = home.ruleset().unwrap();
    let mut service = home.serve_web("0.0.0.0").unwrap();
    let mut daemon = Daemon::start(&home, &home.public_dns().unwrap()).unwrap();
    daemon.say(&["expose", "web", "--port", "8443:1337/tcp", "--name", "www.example.test"]).unwrap();
    daemon.shows("no service \"web\" is registered").unwrap();
    assert_eq!(home.mappings().unwrap(), Vec::<String>::new());

    daemon.say(&REGISTER).unwrap();
    names.shows("www.example.test", "A", &[WAN_ROUTER]).unwrap();
    assert_eq!(home.mappings().unwrap(), [MAPPED]);
    until(LIMIT, "the world to reach the service", || reaches(&home).then_some(())).unwrap();
    daemon.shows("web 8443/tcp -> 1337: open tcp://www.example.test:8443").unwrap();

    service.kill();
    names.shows("www.example.test", "A", &[]).unwrap();
    daemon.mapped(&[]).unwrap();
    let closed = || home.ruleset().is_ok_and(|rules| !rules.contains("1337")).then_some(());
    until(LIMIT, "the firewall to close", closed).unwrap();
    daemon.shows("is critical").unwrap();

    let _service = home.serve_web("0.0.0.0").unwrap();
    names.shows("www.example.test", "A", &[WAN_ROUTER]).unwrap();
    until(LIMIT, "the world to reach the service again", || reaches(&home).then_some(())).unwrap();

    daemon.say(&["unexpose", "web"]).unwrap();
    daemon.mapped(&[]).unwrap();
    names.shows("www.example.test", "A", &[]).unwrap();
    daemon.stop().unwrap();
    assert_eq!(home.ruleset().unwrap(), before);
}

#[test]
fn what_a_killed_daemon_left_is_taken_up_again_by_the_next() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    let wish = "[[expose]]\nservice = \"web\"\nports = [\"8443:1337\"]\n";
    let mut daemon = Daemon::start(&home, wish).unwrap();
    daemon.say(&["expose", "other", "--port", "9999"]).unwrap();
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
    daemon.say(&["register", "other", "--port", "9999"]).unwrap();
    daemon.mapped(&[MAPPED, "9999/tcp>192.168.77.2:9999"]).unwrap();
    daemon.shows("nobody listens on 192.168.77.2:1337").unwrap();
    daemon.kill();
    daemon.restart().unwrap();
    daemon.shows("mapping      holds").unwrap();
    daemon.mapped(&[MAPPED, "9999/tcp>192.168.77.2:9999"]).unwrap();
    // Nobody wishes it any more, and nobody was there to remove it.
    daemon.say(&["unexpose", "other"]).unwrap();
    daemon.mapped(&[MAPPED]).unwrap();
    daemon.stop().unwrap();
    assert_eq!(home.mappings().unwrap(), Vec::<String>::new());
}

#[test]
fn the_services_of_a_consul_beside_it_count_too() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::tool("curl"));
    let consul = Consul::start(&home).unwrap();
    consul.register("fake_dns", "(diplonat (udp_port 5353) (tcp_port 5353))").unwrap();
    consul.register("bad", "(diplonat (tcp_port 80) (tcp_prt 81))").unwrap();
    let source = "[[consul]]\naddress = \"http://127.0.0.1:8500\"\nnode = \"lheureduthe\"\n";
    let mut daemon = Daemon::start(&home, source).unwrap();
    daemon.say(&["expose", "web", "--port", "8443:1337"]).unwrap();
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
    let (dns, web) = (["5353/tcp>192.168.77.2:5353", "5353/udp>192.168.77.2:5353"], MAPPED);
    daemon.mapped(&[dns[0], dns[1], web]).unwrap();
    daemon
        .shows("cannot be read: service \"bad\", \"(diplonat (tcp_port 80) (tcp_prt 81))\", column 26")
        .unwrap();
    consul.deregister("fake_dns").unwrap();
    daemon.mapped(&[web]).unwrap();
    // What is gone is not what is not heard.
    consul.register("fake_dns", "(diplonat (tcp_port 5353))").unwrap();
    daemon.mapped(&[dns[0], web]).unwrap();
    drop(consul);
    daemon.shows("a source is not heard").unwrap();
    daemon.mapped(&[dns[0], web]).unwrap();
    daemon.stop().unwrap();
    assert_eq!(home.mappings().unwrap(), Vec::<String>::new());
}
