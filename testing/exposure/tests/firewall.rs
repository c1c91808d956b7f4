//! The host's firewall: one of our own that nobody is locked out by, and rules of others that drop all the same.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use peers::until;
use portolan_exposure::{CLIENT_V6, Daemon, Guard, Home, LIMIT, NameServer, WAN_ROUTER, need};

/// Port 1337 is the service's; what is on 8510 is the daemon's, on loopback.
const OWN: &str = "mappings = false\npinholes = false\n[firewall]\nmode = \"own\"\nlook_every = \"1s\"\nkeep = [\"22/tcp\"]\n";
const TABLE: &str = "table inet PORTOLAN {";

/// True when a host of the network gets the service's answer.
fn reaches(home: &Home) -> bool {
    let curl = home.at_router("curl").args(["-sf", "--max-time", "1", "http://192.168.77.2:1337/"]).output();
    curl.is_ok_and(|out| out.stdout == b"leet")
}

fn eventually(home: &Home, daemon: &Daemon<'_>, what: &str, mut holds: impl FnMut(&str) -> bool) {
    let done = until(LIMIT, what, || holds(&home.ruleset().unwrap_or_default()).then_some(()));
    done.unwrap_or_else(|timeout| {
        panic!("{timeout}\n{}\n{}", home.ruleset().unwrap_or_default(), daemon.said())
    });
}

#[test]
fn a_firewall_of_our_own_stays_when_somebody_confirms_it_and_goes_when_nobody_does() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::python(&[]));
    need!(peers::tool("curl"));
    home.nft_inside("delete table inet host").unwrap();
    let _service = home.serve_web("0.0.0.0").unwrap();
    until(LIMIT, "the service", || reaches(&home).then_some(())).unwrap();
    let mut daemon = Daemon::start(&home, &format!("{OWN}confirm_within = \"3s\"\n")).unwrap();
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();

    // Nobody says a word: whatever it shut is open again.
    eventually(&home, &daemon, "the table", |rules| rules.contains(TABLE) && !rules.contains("1337"));
    eventually(&home, &daemon, "the end of the trial", |rules| !rules.contains(TABLE));
    assert!(reaches(&home));
    let late = daemon.say(&["firewall", "confirm"]).unwrap_err().to_string();
    assert!(late.contains("no firewall is on trial"), "{late}");
    daemon.say(&["expose", "web", "--port", "1337"]).unwrap();
    daemon.shows("nobody confirmed it").unwrap();

    daemon.say(&["firewall", "try"]).unwrap();
    eventually(&home, &daemon, "the table again", |rules| rules.contains(TABLE));
    until(LIMIT, "it to be on trial", || daemon.say(&["firewall", "confirm"]).ok()).unwrap();
    daemon.shows("lets 1337/tcp in").unwrap();
    assert!(reaches(&home));
    daemon.say(&["unexpose", "web"]).unwrap();
    eventually(&home, &daemon, "the port to close", |rules| rules.contains(TABLE) && !rules.contains("1337"));
    assert!(!reaches(&home), "it is the host's firewall");

    // Who confirmed is not asked again, whatever becomes of the daemon.
    daemon.say(&["expose", "web", "--port", "1337"]).unwrap();
    daemon.kill();
    assert!(home.ruleset().unwrap().contains(TABLE));
    daemon.restart().unwrap();
    daemon.shows("lets 1337/tcp in").unwrap();
    home.nft_inside("flush ruleset").unwrap();
    eventually(&home, &daemon, "the rules again", |rules| rules.contains(TABLE) && rules.contains("1337"));
    daemon.stop().unwrap();
    let left = home.ruleset().unwrap();
    assert!(left.contains(TABLE) && left.contains("dport 22") && !left.contains("1337"), "{left}");
}

#[test]
fn a_trial_ends_with_the_daemon() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    let mut daemon = Daemon::start(&home, &format!("{OWN}confirm_within = \"10m\"\n")).unwrap();
    for is_killed in [false, true] {
        eventually(&home, &daemon, "the table", |rules| rules.contains(TABLE));
        if is_killed {
            daemon.kill();
        } else {
            daemon.stop().unwrap();
        }
        let gone = || home.ruleset().is_ok_and(|rules| !rules.contains(TABLE)).then_some(());
        until(LIMIT, "the table to go", gone).unwrap();
        if !is_killed {
            daemon.restart().unwrap();
        }
    }
}

#[test]
fn what_other_peoples_rules_drop_is_said_and_no_name_leads_there() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    for tool in ["knotd", "dig"] {
        need!(peers::tool(tool));
    }
    let names = NameServer::start(&home).unwrap();
    let dns = names.section(NameServer::KEY).unwrap();
    home.nft_inside(
        "table ip strict {
            set shut {
                type inet_service
                elements = { 1337, 1338 }
            }
            chain incoming {
                type filter hook input priority 5;
                ct state established accept
                tcp dport @shut drop
            }
        }",
    )
    .unwrap();
    let mut daemon = Daemon::start(&home, &format!("[firewall]\nlook_every = \"1s\"\n{dns}")).unwrap();
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
    daemon.say(&["register", "other", "--port", "1400"]).unwrap();
    daemon.say(&["expose", "web", "--port", "8443:1337", "--name", "www.example.test"]).unwrap();
    daemon.say(&["expose", "other", "--port", "1400", "--name", "other.example.test"]).unwrap();
    daemon.shows("nft ip strict incoming, rule").unwrap();
    daemon.shows("this host's firewall keeps 1337/tcp shut").unwrap();
    daemon.shows("lets 1400/tcp in").unwrap();
    names.shows("other.example.test", "A", &[WAN_ROUTER]).unwrap();
    assert!(names.answers("www.example.test", "A").is_empty());
    home.nft_inside("flush set ip strict shut").unwrap();
    daemon.shows("lets 1337/tcp in").unwrap();
    names.shows("www.example.test", "A", &[WAN_ROUTER]).unwrap();
    daemon.stop().unwrap();
}

/// The ruleset without our own table, and without what is counted.
fn others(home: &Home) -> String {
    let rules = home.ruleset().unwrap();
    let (before, ours) = rules.split_once(TABLE).unwrap_or((&rules, ""));
    let after = ours.split_once("\n}\n").map_or("", |(_, after)| after);
    let is_count = |word: &&str| word.parse::<u64>().is_err();
    let uncounted = |line: &str| line.split(' ').filter(is_count).collect::<Vec<_>>().join(" ");
    before.lines().chain(after.lines()).map(uncounted).collect::<Vec<_>>().join("\n")
}

fn stands_beside(home: &Home, guard: Guard) {
    need!(peers::portolan());
    need!(peers::python(&[]));
    need!(peers::tool("curl"));
    let before = others(home);
    let _service = home.serve_web("0.0.0.0").unwrap();
    let mut daemon = Daemon::start(home, &format!("{OWN}confirm_within = \"10m\"\n")).unwrap();
    eventually(home, &daemon, "the table", |rules| rules.contains(TABLE));
    until(LIMIT, "it to be on trial", || daemon.say(&["firewall", "confirm"]).ok()).unwrap();
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
    assert!(!reaches(home));
    daemon.say(&["expose", "web", "--port", "1337"]).unwrap();
    daemon.shows("lets 1337/tcp in").unwrap();
    until(LIMIT, "the network to get in through both", || reaches(home).then_some(())).unwrap_or_else(
        |timeout| panic!("{timeout}\n{}\n{}", home.ruleset().unwrap_or_default(), daemon.said()),
    );
    if guard == Guard::Nft {
        // What is kept is the operator's promise, and others break it. Of iptables' own matches nft tells too little.
        daemon.tells("let 22/tcp in").unwrap();
    }
    let config = home.folder.path().join("house.toml").display().to_string();
    let doctor = daemon.say(&["doctor", "--config", &config]).unwrap_or_else(|said| said.to_string());
    assert!(doctor.contains("our own table, nft inet PORTOLAN"), "{doctor}");
    daemon.say(&["unexpose", "web"]).unwrap();
    eventually(home, &daemon, "the port to close", |rules| !rules.contains("1337"));
    assert!(!reaches(home));
    daemon.say(&["expose", "web", "--port", "1337"]).unwrap();
    daemon.shows("lets 1337/tcp in").unwrap();
    daemon.stop().unwrap();
    assert!(home.ruleset().unwrap().contains(TABLE), "it is the host's firewall");
    assert_eq!(others(home), before, "and nothing of ours is in anybody else's");
}

#[test]
fn a_firewall_of_our_own_stands_beside_other_peoples_tables() {
    stands_beside(&need!(Home::build(Guard::Nft)), Guard::Nft);
}

#[test]
fn a_firewall_of_our_own_stands_beside_iptables() {
    stands_beside(&need!(Home::build(Guard::Both)), Guard::Both);
}

#[test]
fn what_is_dropped_of_ipv6_alone_keeps_only_its_addresses_from_the_world() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::python(&[]));
    for tool in ["knotd", "dig"] {
        need!(peers::tool(tool));
    }
    let names = NameServer::start(&home).unwrap();
    let dns = names.section(NameServer::KEY).unwrap();
    home.nft_inside(
        "table ip6 strict {
            set shut {
                type inet_service
                elements = { 1337 }
            }
            chain incoming {
                type filter hook input priority 5;
                ct state established accept
                ip6 saddr fe80::/10 accept
                tcp dport @shut drop
            }
        }",
    )
    .unwrap();
    let _service = home.serve_web("0.0.0.0").unwrap();
    let mut daemon = Daemon::start(&home, &format!("[firewall]\nlook_every = \"1s\"\n{dns}")).unwrap();
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
    daemon.say(&["expose", "web", "--port", "1337", "--name", "www.example.test"]).unwrap();
    names.shows("www.example.test", "A", &[WAN_ROUTER]).unwrap();
    daemon.shows("let 1337/tcp in by IPv6: nft ip6 strict incoming, rule").unwrap();
    daemon.shows("this host's firewall keeps 1337/tcp shut by IPv6").unwrap();
    daemon.shows("web 1337/tcp -> 1337: open").unwrap();
    assert!(names.answers("www.example.test", "AAAA").is_empty());
    home.nft_inside("flush set ip6 strict shut").unwrap();
    names.shows("www.example.test", "AAAA", &[CLIENT_V6]).unwrap();
    daemon.stop().unwrap();
}
