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

/// What `dig` is told of a name on this host.
fn dig(home: &Home, question: &[&str]) -> String {
    let mut dig = home.inside(peers::tool("dig").unwrap());
    dig.args(["@127.0.0.1", "-p", "8600", "+short", "+tries=1"]).args(question);
    said(dig).trim().to_owned()
}

/// The address of IPv6 that a name of the registry has on this host.
fn by_six(home: &Home, service: &str) -> String {
    let find = || {
        let said = dig(home, &["AAAA", &format!("{service}.svc.internal")]);
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

/// For a service `web` with this address.
fn names_lead_both_ways(home: &Home, daemon: &Daemon<'_>, six: &str) {
    assert_eq!(dig(home, &["-x", six]), "web.svc.internal.");
    assert!(daemon.say(&["resolve", "web"]).unwrap().contains(&format!("[{six}]:1337")));
    // The first question about a service may be for IPv6.
    daemon.say(&["register", "late", "--port", "1337"]).unwrap();
    let known = || (!dig(home, &["A", "late.service.consul"]).is_empty()).then_some(());
    until(LIMIT, "the name", known).unwrap();
    let first = dig(home, &["AAAA", "late.svc.internal"]);
    assert!(first.starts_with("fd00:77::") && first != six, "{first:?}");
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
    assert!(reaches(container.run("curl"), &format!("[{six}]:1337")), "a container may");
    names_lead_both_ways(&home, &daemon, &six);
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
    said, peer = s.recvfrom(65535)
    s.sendto(b'echo ' + said, peer)";

/// Says something to a virtual address, of so many bytes more, and takes an answer from nobody else.
const SAY: &str = "import socket, sys
host, port, more = sys.argv[1], int(sys.argv[2]), b'.' * int(sys.argv[3])
s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2); s.connect((host, port))
s.send(b'leet' + more); said = s.recv(65535)
assert said == b'echo leet' + more; print('right')";

/// True when this place is answered from there.
fn echoes(mut from: Command, (host, port): (&str, &str), more: &str) -> bool {
    from.args(["-c", SAY, host, port, more]).output().is_ok_and(|out| out.stdout == b"right\n")
}

/// Waits until it is.
fn answered(daemon: &Daemon<'_>, from: impl Fn() -> Command, at: (&str, &str), more: &str) {
    let done = until(LIMIT, "an answer", || echoes(from(), at, more).then_some(()));
    done.unwrap_or_else(|timeout| panic!("{timeout} from {at:?} to {:?}\n{}", from(), daemon.said()));
}

/// Sockets for datagrams on virtual addresses, as the kernel's tables have them: 10.77.x.y and fd00:77::x:y, word by
/// word, the least significant byte first.
fn sockets(home: &Home) -> usize {
    let mut tables = home.inside("cat");
    tables.args(["/proc/net/udp", "/proc/net/udp6"]);
    let said = said(tables);
    let places = said.lines().filter_map(|line| line.split_whitespace().nth(1)?.split_once(':'));
    places.filter(|(ip, _)| (ip.len() == 8 && ip.ends_with("4D0A")) || ip.starts_with("770000FD")).count()
}

#[test]
fn datagrams_to_any_virtual_address_are_one_listener_too() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::python(&[]));
    need!(peers::tool("dig"));
    let container = home.container("ct0", "172.30.0").unwrap();
    home.nft_inside("insert rule inet host input accept").unwrap();
    let mut routes = home.at_router("sh");
    let by_client =
        format!("ip route add 10.77.0.0/16 via 192.168.77.2; ip -6 route add fd00:77::/64 via {CLIENT_V6}");
    routes.args(["-c", &by_client]);
    said(routes);
    let _service = Running::start(home.inside("python3").args(["-c", ECHO])).unwrap();
    let python = || home.inside("python3");
    until(LIMIT, "the service", || echoes(python(), ("127.0.0.1", "5300"), "0").then_some(())).unwrap();
    let mut daemon =
        Daemon::start(&home, &format!("{ANY_RANGE}[proxy]\nudp_idle_timeout = \"3s\"\n")).unwrap();
    for name in ["echo", "other"] {
        let echo = ["register", name, "--port", "5300", "--address", "127.0.0.1", "--tag", "protocol=udp"];
        daemon.say(&echo).unwrap();
    }
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
    let led = || home.ruleset().is_ok_and(|rules| rules.contains("tproxy")).then_some(());
    until(LIMIT, "the rules", led).unwrap_or_else(|timeout| panic!("{timeout}\n{}", daemon.said()));
    let told = ["echo", "other", "web"].map(|service| virtual_address(&daemon, service));
    let [four, other, web] = told.each_ref().map(|address| address.rsplit_once(':').unwrap());
    let six = by_six(&home, "echo");
    assert!(six.starts_with("fd00:77::"), "{six}");
    let six = (six.as_str(), four.1);
    assert_eq!(four.1, "5300");
    until(LIMIT, "nothing to be bound until somebody speaks", || (sockets(&home) == 0).then_some(()))
        .unwrap();
    // Of any length, to any service, by IPv6, from containers in fragments: and never from the network.
    for (at, more) in [(four, "0"), (four, "9000"), (other, "0"), (six, "0"), (six, "9000")] {
        answered(&daemon, python, at, more);
    }
    for at in [four, six] {
        answered(&daemon, || container.run("python3"), at, "4000");
        assert!(!echoes(home.at_router("python3"), at, "0"), "the network may not: {at:?}");
    }
    assert!(!echoes(python(), (four.0, "5301"), "0"), "nobody has this port");
    assert!(!echoes(python(), web, "0"), "it takes no datagrams");
    let speaks = || (echoes(python(), four, "0") && sockets(&home) > 0).then_some(());
    until(LIMIT, "a socket that answers", speaks).unwrap();
    until(LIMIT, "the sockets to go with their sessions", || (sockets(&home) == 0).then_some(())).unwrap();
    // Somebody flushes the rules.
    home.nft_inside("delete table inet portolan_virtual").unwrap();
    until(LIMIT, "the rules again", led).unwrap();
    answered(&daemon, python, four, "0");
    daemon.stop().unwrap();
}

/// Keeps a port for datagrams on every address.
const HOLD: &str = "import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 5300)); print('held', flush=True); time.sleep(600)";

#[test]
fn somebody_elses_wildcard_socket_makes_answers_leave_from_another_port() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::python(&[]));
    let container = home.container("ct0", "172.30.0").unwrap();
    let echo = ECHO.replace("127.0.0.1", "0.0.0.0");
    let _service = Running::start(container.run("python3").args(["-c", &echo])).unwrap();
    let holder = Running::start(home.inside("python3").args(["-c", HOLD])).unwrap();
    until(LIMIT, "the port to be held", || holder.said().contains("held").then_some(())).unwrap();
    let mut daemon = Daemon::start(&home, ANY_RANGE).unwrap();
    let echo = ["register", "echo", "--port", "5300", "--address", "172.30.0.2", "--tag", "protocol=udp"];
    daemon.say(&echo).unwrap();
    let led = || home.ruleset().is_ok_and(|rules| rules.contains("tproxy")).then_some(());
    until(LIMIT, "the rules", led).unwrap();
    let address = virtual_address(&daemon, "echo");
    let at = address.rsplit_once(':').unwrap();
    assert_ne!(at.1, "5300");
    let told = daemon.say(&["resolve", "echo"]).unwrap();
    assert!(told.contains("listens on 0.0.0.0:5300"), "{told}");
    answered(&daemon, || home.inside("python3"), at, "0");
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
