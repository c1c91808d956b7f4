//! One listener for all virtual addresses: programs of this host reach it, containers where that was said, the network
//! never.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::process::Command;

use peers::{Running, until};
use portolan_exposure::{CLIENT_V6, Daemon, Guard, Home, LIMIT, need};

const ANY_RANGE: &str = "[hostnet]\ntransparent = true\nrange = \"10.77.0.0/16\"\nrange_v6 = \"fd00:77::/64\"\nreachable_from = [\"ct0\"]\n";

/// Where programs of this host are sent for a service.
fn virtual_address(daemon: &Daemon<'_>, service: &str) -> String {
    let find = || {
        let said = daemon.say(&["resolve", service]).ok()?;
        let line = said.lines().find(|line| line.contains("virtual") && !line.contains("not open"))?;
        Some(line.split_whitespace().nth(1)?.to_owned())
    };
    until(LIMIT, "a virtual address", find).unwrap_or_else(|timeout| panic!("{timeout}\n{}", daemon.said()))
}

/// The address of IPv6 that a name of the registry has on this host.
fn by_six(home: &Home, service: &str) -> String {
    let dig = peers::tool("dig").unwrap();
    let find = || {
        let mut dig = home.inside(&dig);
        dig.args([
            "@127.0.0.1",
            "-p",
            "8600",
            "+short",
            "+tries=1",
            "AAAA",
            &format!("{service}.svc.internal"),
        ]);
        let said = String::from_utf8(dig.output().ok()?.stdout).ok()?.trim().to_owned();
        (!said.is_empty()).then_some(said)
    };
    until(LIMIT, "an address of IPv6", find).unwrap()
}

/// True when this place gets the service's answer there.
fn reaches(mut from: Command, address: &str) -> bool {
    let curl = from.args(["-sf", "--max-time", "2", &format!("http://{address}/")]).output();
    curl.is_ok_and(|out| out.stdout == b"leet")
}

fn said(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn any_range_and_any_port_are_one_listener_that_the_network_never_reaches() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::python(&[]));
    need!(peers::tool("curl"));
    need!(peers::tool("dig"));
    let container = home.container("ct0", "172.30.0").unwrap();
    // The host's own firewall lets all in, and the router sends the range here: what keeps it out is ours.
    home.nft_inside("insert rule inet host input accept").unwrap();
    let mut route = home.at_router("ip");
    route.args(["route", "add", "10.77.0.0/16", "via", "192.168.77.2"]);
    said(route);
    let before = home.ruleset().unwrap();
    // On every address: a socket for the virtual one could not have the same port.
    let _service = home.serve_web("0.0.0.0").unwrap();
    let mut daemon = Daemon::start(&home, ANY_RANGE).unwrap();
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
    let led = || home.ruleset().is_ok_and(|rules| rules.contains("tproxy")).then_some(());
    until(LIMIT, "the rules", led).unwrap_or_else(|timeout| panic!("{timeout}\n{}", daemon.said()));
    let address = virtual_address(&daemon, "web");
    assert!(address.starts_with("10.77.") && address.ends_with(":1337"), "{address}");
    let here = || reaches(home.inside("curl"), &address).then_some(());
    until(LIMIT, "this host to reach it", here)
        .unwrap_or_else(|timeout| panic!("{timeout}\n{}", daemon.said()));
    assert!(reaches(container.run("curl"), &address), "a container may");
    assert!(!reaches(home.at_router("curl"), &address), "the network may not");
    // By IPv6 too, where names lead there: on loopback there is no other host.
    let six = by_six(&home, "web");
    assert!(six.starts_with("fd00:77::") && reaches(home.inside("curl"), &format!("[{six}]:1337")), "{six}");
    assert!(!reaches(home.inside("curl"), &format!("[{six}]:1338")));
    let mut route = home.at_router("ip");
    route.args(["-6", "route", "add", "fd00:77::/64", "via", CLIENT_V6]);
    said(route);
    assert!(!reaches(home.at_router("curl"), &format!("[{six}]:1337")), "the network may not");
    let other_port = address.replace(":1337", ":1338");
    assert!(!reaches(home.inside("curl"), &other_port), "nobody listens there");
    // Somebody flushes it.
    home.nft_inside("delete table inet portolan_virtual").unwrap();
    until(LIMIT, "the rules again", led).unwrap();
    until(LIMIT, "this host to reach it again", here).unwrap();
    assert!(!reaches(home.at_router("curl"), &address));
    // Privilege is the small process's.
    let rights = daemon.rights().unwrap();
    assert!(rights.iter().all(|set| set & (1 << 12) == 0), "{rights:x?}");
    daemon.stop().unwrap();
    assert_eq!(home.ruleset().unwrap(), before);
    let mut routes = home.inside("ip");
    routes.args(["route", "show", "table", "local"]);
    assert!(!said(routes).contains("10.77."));
    let mut routes = home.inside("ip");
    routes.args(["-6", "route", "show", "table", "local"]);
    assert!(!said(routes).contains("fd00:77"));
}

/// Answers datagrams on loopback with what they say.
const ECHO: &str = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 5300))
while True:
    said, peer = s.recvfrom(2048)
    s.sendto(b'echo ' + said, peer)";

/// Says something to a virtual address, and takes an answer from nobody else.
const SAY: &str = "import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2); s.connect((sys.argv[1], int(sys.argv[2])))
s.send(b'leet'); print(s.recv(2048).decode())";

#[test]
fn datagrams_are_answered_by_the_virtual_address_of_any_range() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::python(&[]));
    let _service = Running::start(home.inside("python3").args(["-c", ECHO])).unwrap();
    let mut daemon = Daemon::start(&home, ANY_RANGE).unwrap();
    daemon
        .say(&["register", "echo", "--port", "5300", "--address", "127.0.0.1", "--tag", "protocol=udp"])
        .unwrap();
    let led = || home.ruleset().is_ok_and(|rules| rules.contains("tproxy")).then_some(());
    until(LIMIT, "the rules", led).unwrap();
    let address = virtual_address(&daemon, "echo");
    let (host, port) = address.split_once(':').unwrap();
    let echoes = || {
        let output = home.inside("python3").args(["-c", SAY, host, port]).output().ok()?;
        (output.stdout == b"echo leet\n").then_some(())
    };
    until(LIMIT, "an answer", echoes).unwrap_or_else(|timeout| panic!("{timeout}\n{}", daemon.said()));
    daemon.stop().unwrap();
}

/// New connections each second that `wrk` gets through.
fn rate(home: &Home, address: &str, seconds: u32) -> f64 {
    let mut wrk = home.inside(peers::tool("wrk").unwrap());
    wrk.args([
        "-t1",
        "-c16",
        &format!("-d{seconds}s"),
        "-H",
        "Connection: close",
        &format!("http://{address}/"),
    ]);
    let text = said(wrk);
    let line =
        text.lines().find(|line| line.starts_with("Requests/sec:")).unwrap_or_else(|| panic!("{text}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_transparent_listener_keeps_up_with_bound_ones() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    let nginx = need!(peers::tool("nginx"));
    need!(peers::tool("wrk"));
    let place = home.folder.path().display();
    let config = format!(
        "daemon off; user root; worker_processes 1; pid {place}/nginx.pid; error_log {place}/nginx.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c;\n\
         uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;\n\
         server {{ listen 127.0.0.1:1337; location / {{ return 200 leet; }} }} }}\n"
    );
    let file = home.folder.path().join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let _service = Running::start(home.inside(nginx).arg("-c").arg(&file)).unwrap();
    let (rounds, seconds) =
        if std::env::var_os("PORTOLAN_EXPOSURE_CUTS").is_some() { (5, 4) } else { (1, 1) };
    let (mut bound, mut led) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (is_led, rates) in [(false, &mut bound), (true, &mut led)] {
            let more = format!("[hostnet]\ntransparent = {is_led}\n");
            let mut daemon = Daemon::start(&home, &more).unwrap();
            let web = ["register", "web", "--port", "1337", "--address", "127.0.0.1"];
            daemon.say(&web).unwrap();
            let has_rules =
                || home.ruleset().is_ok_and(|rules| rules.contains("tproxy") == is_led).then_some(());
            until(LIMIT, "the rules", has_rules).unwrap();
            let address = virtual_address(&daemon, "web");
            until(LIMIT, "an answer", || reaches(home.inside("curl"), &address).then_some(())).unwrap();
            rates.push(rate(&home, &address, seconds));
            daemon.stop().unwrap();
        }
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (bound, led) = (median(&mut bound), median(&mut led));
    println!(
        "figure: new connections/s: {bound:.0} to a bound address, {led:.0} to one listener for all: {:.2} (bound: 0.9)",
        led / bound
    );
    assert!(led > 0.0 && bound > 0.0);
}
