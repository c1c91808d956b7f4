//! What exposure costs. Figures are printed; what is asserted is counted, not timed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use peers::{Running, until};
use portolan_exposure::{Consul, Daemon, Guard, Home, LIMIT, NameServer, WAN_ROUTER, need};

const QUICK: &str = "[firewall]\nlook_every = \"1s\"\n";

/// Transactions of the client's firewall that an `nft monitor` has told so far.
fn transactions(monitor: &Running) -> usize {
    monitor.said().lines().filter(|line| line.starts_with("# new generation")).count()
}

fn watch(home: &Home) -> Running {
    let mut monitor = Running::start(home.inside(peers::tool("nft").unwrap()).arg("monitor")).unwrap();
    // It says nothing of its own when it is ready: a change of ours that it must tell.
    monitor
        .wait_until(LIMIT, "nft to watch", || {
            home.nft_inside("add table inet probe; delete table inet probe").is_ok() && home.ruleset().is_ok()
        })
        .unwrap();
    until(LIMIT, "nft to watch", || {
        home.nft_inside("add table inet probe; delete table inet probe").ok()?;
        (transactions(&monitor) > 0).then_some(())
    })
    .unwrap();
    // It tells in order: after these, none of the probes is still to come.
    home.nft_inside("add table inet ready").unwrap();
    home.nft_inside("delete table inet ready").unwrap();
    until(LIMIT, "nft to have told all", || {
        let said = monitor.said();
        let (_, after) = said.split_once("delete table inet ready")?;
        after.contains("# new generation").then_some(())
    })
    .unwrap();
    monitor
}

/// Packets that a counting rule has seen.
fn packets(listing: &str, comment: &str) -> u64 {
    let line = listing.lines().find(|line| line.contains(comment)).unwrap();
    line.split("packets ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// How long `nft` takes for the transaction that the daemon makes of a thousand ports, and nothing else.
fn transaction(home: &Home) -> Duration {
    let ports: Vec<String> = (20_000..21_000).map(|number: u16| number.to_string()).collect();
    let set = ports.join(", ");
    let script =
        format!("flush chain inet host PORTOLAN\nadd rule inet host PORTOLAN tcp dport {{ {set} }} accept");
    let begun = Instant::now();
    home.nft_inside(&script).unwrap();
    begun.elapsed()
}

#[test]
fn a_thousand_ports_are_one_transaction_and_a_settled_home_is_left_alone() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::tool("knotd"));
    need!(peers::tool("dig"));
    let names = NameServer::start(&home).unwrap();
    // The ports are the firewall's affair here: no router is asked for a thousand mappings.
    let dns = names.section(NameServer::KEY).unwrap();
    let mut daemon =
        Daemon::start(&home, &format!("mappings = false\npinholes = false\n{QUICK}{dns}")).unwrap();
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
    let monitor = watch(&home);
    let count = transactions(&monitor);
    let mut args = vec!["expose".to_owned(), "web".into()];
    (0..1000).for_each(|number| args.extend(["--port".into(), format!("{0}:{0}", 20_000 + number)]));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let begun = Instant::now();
    daemon.say(&args).unwrap();
    until(LIMIT, "the last port to open", || home.ruleset().unwrap().contains("20999").then_some(()))
        .unwrap();
    println!("figure: 1000 ports open {:?} after they were wished", begun.elapsed());
    assert_eq!(transactions(&monitor), count + 1, "{}", monitor.said());

    // Ten refreshes, and as many looks at the firewall: no rule is written, no name server asked.
    let counted = "add chain inet filter count { type filter hook forward priority -1; }\n\
         add rule inet filter count tcp dport 5353 counter comment \"updates\"";
    home.nft_at_router(counted).unwrap();
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(transactions(&monitor), count + 1, "{}", monitor.said());
    let nft = peers::tool("nft").unwrap();
    let listing = home.at_router(nft).args(["list", "chain", "inet", "filter", "count"]).output().unwrap();
    assert_eq!(packets(&String::from_utf8_lossy(&listing.stdout), "updates"), 0);
    let best = (0..5).map(|_| transaction(&home)).min();
    println!("figure: 1000 ports: the transaction alone took {:?} (bound: 100 ms)", best.unwrap_or_default());
    daemon.stop().unwrap();
}

/// Polls until it holds; how long that took.
fn timed(what: &str, begun: Instant, mut holds: impl FnMut() -> bool) -> Duration {
    until(LIMIT, what, || holds().then_some(())).unwrap();
    begun.elapsed()
}

#[test]
fn from_consul_to_the_world_and_back() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    for tool in ["curl", "knotd", "dig"] {
        need!(peers::tool(tool));
    }
    let names = NameServer::start(&home).unwrap();
    let consul = Consul::start(&home).unwrap();
    let source = "[[consul]]\naddress = \"http://127.0.0.1:8500\"\nnode = \"lheureduthe\"\n";
    let more = format!("{source}{}", names.section(NameServer::KEY).unwrap());
    let mut daemon = Daemon::start(&home, &more).unwrap();
    // Found before: what is measured is the way of a service, not of a router.
    consul.register("first", "(diplonat (tcp_port 1400))").unwrap();
    daemon.mapped(&["1400/tcp>192.168.77.2:1400"]).unwrap();
    let web = "{\"Name\":\"web\",\"Tags\":[\"(diplonat (tcp_port 1337))\",\"d53-a www.example.test\"],\
               \"Check\":{\"TTL\":\"600s\",\"Status\":\"passing\"}}";
    let rounds = if std::env::var_os("PORTOLAN_EXPOSURE_CUTS").is_some() { 10 } else { 1 };
    for _ in 0..rounds {
        let begun = Instant::now();
        consul.put("/v1/agent/service/register", web).unwrap();
        consul.put("/v1/agent/check/pass/service:web", "").unwrap();
        let opened = timed("a rule", begun, || home.ruleset().unwrap().contains("1337"));
        let mapped = timed("a mapping", begun, || home.mappings().unwrap().len() == 2);
        let shown = timed("a name", begun, || names.answers("www.example.test", "A") == [WAN_ROUTER]);
        println!(
            "figure: registered in Consul: open after {opened:?}, mapped {mapped:?}, in DNS {shown:?} (bound: 1 s)"
        );
        let begun = Instant::now();
        consul.put("/v1/agent/check/fail/service:web", "").unwrap();
        let hidden = timed("no name", begun, || names.answers("www.example.test", "A").is_empty());
        let unmapped = timed("no mapping", begun, || home.mappings().unwrap().len() == 1);
        let closed = timed("no rule", begun, || !home.ruleset().unwrap().contains("1337"));
        println!(
            "figure: its check failed: not in DNS after {hidden:?}, unmapped {unmapped:?}, closed {closed:?} (bound: 1 s)"
        );
    }
    if rounds > 1 {
        count_questions(&home);
    }
    daemon.stop().unwrap();
}

/// What ten refreshes of a home that is settled cost its router: two questions each about the mappings and one about the
/// pinholes, and no search.
fn count_questions(home: &Home) {
    let counted = "add chain inet filter asked { type filter hook input priority -1; }\n\
         add rule inet filter asked iifname lan0 tcp flags & (syn | ack) == syn counter comment \"questions\"\n\
         add rule inet filter asked iifname lan0 udp dport 5351 counter comment \"datagrams\"\n\
         add rule inet filter asked iifname lan0 udp dport 1900 counter comment \"searches\"";
    home.nft_at_router(counted).unwrap();
    std::thread::sleep(Duration::from_millis(10_500));
    let nft = peers::tool("nft").unwrap();
    let listing = home.at_router(nft).args(["list", "chain", "inet", "filter", "asked"]).output().unwrap();
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    let questions = packets(&listing, "\"questions\"") + packets(&listing, "\"datagrams\"");
    let searches = packets(&listing, "\"searches\"");
    println!(
        "figure: ten refreshes of a settled home: {questions} questions to the router, {searches} searches"
    );
    assert!(questions <= 36 && searches == 0, "{listing}");
}

/// Connects to both ports at this rate until it is told to end; then how often each let it in, and how often not.
const HAMMER: &str = "import socket, sys, time
host, rate, end = sys.argv[1], float(sys.argv[2]), sys.argv[3]
import os
got = {1337: [0, 0], 1400: [0, 0]}
print('ready', flush=True)
turn = time.time()
while not os.path.exists(end):
    for port in got:
        s = socket.socket(); s.settimeout(20 if port == 1337 else 0.002)
        try:
            s.connect((host, port)); got[port][0] += 1
        except OSError:
            got[port][1] += 1
        s.close()
    turn += 2 / rate
    time.sleep(max(0, turn - time.time()))
print('open', got[1337][0], got[1337][1], 'closed', got[1400][0], got[1400][1], flush=True)";

const SERVE: &str = "import socket, threading
def serve(port):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('0.0.0.0', port)); s.listen(512)
    while True: s.accept()[0].close()
threading.Thread(target=serve, args=(1400,), daemon=True).start()
serve(1337)";

#[test]
fn replacing_the_rules_under_load_leaks_nothing_and_drops_nothing() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::python(&[]));
    let _service = Running::start(home.inside("python3").args(["-c", SERVE])).unwrap();
    let mut daemon = Daemon::start(&home, &format!("mappings = false\npinholes = false\n{QUICK}")).unwrap();
    daemon.say(&["register", "web", "--port", "1337"]).unwrap();
    daemon.say(&["register", "other", "--port", "1500"]).unwrap();
    daemon.say(&["expose", "web", "--port", "1337"]).unwrap();
    daemon.shows("lets 1337/tcp in").unwrap();
    let monitor = watch(&home);
    let count = transactions(&monitor);
    let end = home.folder.path().join("end");
    let mut hammer = home.at_router("python3");
    let mut hammer = Running::start(hammer.args(["-c", HAMMER, "192.168.77.2", "200"]).arg(&end)).unwrap();
    hammer.wait_until(LIMIT, "the first connection", || hammer_ready(&home)).unwrap();
    let changes = if std::env::var_os("PORTOLAN_EXPOSURE_CUTS").is_some() { 100 } else { 20 };
    for number in 0..changes {
        let port = (30_000 + number).to_string();
        daemon.say(&["expose", "other", "--port", &format!("{port}:{port}")]).unwrap();
        until(LIMIT, "the change", || home.ruleset().unwrap().contains(&port).then_some(())).unwrap();
    }
    let replaced = transactions(&monitor) - count;
    std::fs::write(&end, "").unwrap();
    hammer.ended(LIMIT).unwrap();
    let said = hammer.said();
    let mut line = String::new();
    let _ = write!(line, "{}", said.lines().last().unwrap_or_default());
    println!("figure: {replaced} replacements, {line}");
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [let_in, lost, leaked, _kept] = numbers.as_slice() else { panic!("{said}") };
    assert!(replaced >= changes && *let_in > 0, "{replaced} {said}");
    assert_eq!((*lost, *leaked), (0, 0), "{said}");
    daemon.stop().unwrap();
}

/// The open port answers the router's own host, from where it is hammered.
fn hammer_ready(home: &Home) -> bool {
    let curl = home
        .at_router("python3")
        .args(["-c", "import socket; socket.create_connection(('192.168.77.2',1337),1)"])
        .output();
    curl.is_ok_and(|out| out.status.success())
}
