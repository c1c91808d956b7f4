//! The same zone, served by Knot and by us: what clients see of both is the same.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use peers::Running;
use portolan_conformance::{Daemon, LIMIT, need};
use serde_json::json;

/// More addresses than a datagram of 512 bytes holds.
const MANY: u32 = 60;

/// What of an answer must be the same.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    status: String,
    flags: BTreeSet<String>,
    answers: BTreeSet<String>,
    /// Types in the authority section: whose zone it is differs.
    authorities: BTreeSet<String>,
}

fn ask(dig: &Path, port: u16, question: &str) -> Said {
    let output = Command::new(dig)
        .args(["@127.0.0.1", "-p", &port.to_string(), "+norecurse", "+tries=1", "+time=20", "+nocookie"])
        .args(["+noall", "+comments", "+answer", "+authority", "+ignore"])
        .args(question.split(' '))
        .output()
        .unwrap();
    read(&String::from_utf8_lossy(&output.stdout))
}

fn read(text: &str) -> Said {
    let after = |label: &str, end: char| {
        let at = text.find(label).unwrap_or_else(|| panic!("no {label} in {text}")) + label.len();
        text[at..].split(end).next().unwrap().trim().to_owned()
    };
    let flags: BTreeSet<String> = after(";; flags:", ';').split(' ').map(str::to_owned).collect();
    let section = |title: &str| {
        let lines = text.lines().skip_while(|line| !line.contains(title)).skip(1);
        lines
            .take_while(|line| !line.trim().is_empty() && !line.starts_with(";;"))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase())
            .collect::<Vec<_>>()
    };
    // How many of too many addresses come in a datagram is not said anywhere.
    let is_cut = flags.contains("tc");
    let answers = if is_cut { Vec::new() } else { section("ANSWER SECTION") };
    let authorities = section("AUTHORITY SECTION");
    let kinds = authorities.iter().filter_map(|line| line.split(' ').nth(3));
    Said {
        status: after("status:", ','),
        answers: answers.into_iter().collect(),
        authorities: if is_cut { BTreeSet::new() } else { kinds.map(str::to_owned).collect() },
        flags,
    }
}

fn zone() -> String {
    let mut text = "$ORIGIN service.consul.\n$TTL 0\n@ SOA ns hostmaster 1 3600 600 86400 0\n@ NS ns\n\
                    web A 10.1.0.1\nweb A 10.1.0.2\nsix AAAA fd00::6\n"
        .to_owned();
    for number in 0..MANY {
        writeln!(text, "many A 10.2.0.{number}").unwrap();
    }
    text
}

/// Knot with the zone, in a folder of its own.
fn knot(knotd: &Path, dig: &Path, folder: &Path, port: u16) -> Running {
    let place = folder.display();
    std::fs::write(folder.join("zone"), zone()).unwrap();
    let settings = format!(
        "server:\n  rundir: {place}\n  listen: 127.0.0.1@{port}\ndatabase:\n  storage: {place}\ntemplate:\n- id: default\n  \
         storage: {place}\n  journal-content: none\n  zonefile-load: whole\nzone:\n- domain: service.consul\n  \
         file: {place}/zone\n"
    );
    let file = folder.join("knot.conf");
    std::fs::write(&file, settings).unwrap();
    let mut knot = Running::start(Command::new(knotd).arg("-c").arg(&file)).unwrap();
    knot.wait_until(LIMIT, "Knot to answer", || {
        let output = Command::new(dig)
            .args([
                "@127.0.0.1",
                "-p",
                &port.to_string(),
                "+tries=1",
                "+time=1",
                "+short",
                "web.service.consul",
            ])
            .output();
        output.is_ok_and(|output| output.stdout.starts_with(b"10.1.0."))
    })
    .unwrap();
    knot
}

#[test]
fn both_say_the_same() {
    let (knotd, dig) = (need!(peers::tool("knotd")), need!(peers::tool("dig")));
    let daemon = need!(Daemon::start());
    let folder = tempfile::tempdir().unwrap();
    let port = peers::reserve_port().unwrap();
    let _knot = knot(&knotd, &dig, folder.path(), port);
    let register = |service: &str, id: &str, address: &str| {
        daemon.register(&json!({ "ID": id, "Name": service, "Address": address })).unwrap();
    };
    register("web", "web-1", "10.1.0.1");
    register("web", "web-2", "10.1.0.2");
    register("six", "six-1", "fd00::6");
    (0..MANY).for_each(|n| register("many", &format!("many-{n}"), &format!("10.2.0.{n}")));
    let last = "+tcp many.service.consul A";
    peers::until(LIMIT, "all registrations", || {
        (ask(&dig, daemon.dns, last).answers.len() == MANY as usize).then_some(())
    })
    .unwrap();

    for question in [
        "web.service.consul A",
        "wEB.SeRVice.cOnSuL A",
        "web.service.consul AAAA",
        "six.service.consul AAAA",
        "six.service.consul A",
        "web.service.consul MX",
        "web.service.consul CNAME",
        "web.service.consul TYPE999",
        "nobody.service.consul A",
        "nobody.service.consul TYPE999",
        "+noedns web.service.consul A",
        "+noedns nobody.service.consul A",
        "+dnssec web.service.consul A",
        "+bufsize=4096 web.service.consul A",
        "+edns=1 +noednsneg web.service.consul A",
        "+ednsopt=65001:0102 web.service.consul A",
        "+noedns many.service.consul A",
        "+bufsize=512 many.service.consul A",
        "+tcp web.service.consul A",
        "+tcp nobody.service.consul A",
        last,
        "example.org A",
        "web.service.consul -c CH A",
    ] {
        let (ours, theirs) = (ask(&dig, daemon.dns, question), ask(&dig, port, question));
        assert_eq!(ours, theirs, "{question}");
    }
}
