//! Several hosts behind one router: one of them has the door, and another takes over.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use peers::{Running, until};
use portolan_exposure::{Daemon, Fallible, Guest, Home, LIMIT, WAN_ROUTER, need};

const LEASE: &str = "8s";
const SITE: &str = "site = \"attic\"\ninside = [\"8443/tcp\"]\n[cluster.life]\nbeat = \"500ms\"\nsuspect_after = \"2s\"\ndead_after = \"3s\"\nprobe_time = \"1s\"\n";

/// A service that says which host it is on.
fn serve(home: &Home, place: Option<&Guest>, word: &str) -> Fallible<Running> {
    let program = format!(
        "import http.server as h\nclass A(h.BaseHTTPRequestHandler):\n  def do_GET(s):\n    \
         s.send_response(200); s.send_header('content-length','4'); s.end_headers(); s.wfile.write(b'{word}')\n\
         h.ThreadingHTTPServer(('0.0.0.0',1337),A).serve_forever()"
    );
    let mut python = place.map_or_else(|| home.inside("python3"), |guest| guest.run("python3"));
    Ok(Running::start(python.args(["-c", &program]))?)
}

/// Waits until the world gets this host's answer.
fn answers(home: &Home, word: &str, said: impl Fn() -> String) {
    let mut last = Vec::new();
    let url = format!("http://{WAN_ROUTER}:8443/");
    let done = until(2 * LIMIT, word, || {
        last = home.outside("curl").args(["-sf", "--max-time", "1", &url]).output().ok()?.stdout;
        (last == word.as_bytes()).then_some(())
    });
    done.unwrap_or_else(|timeout| {
        panic!("{timeout}; it was {:?}\n{}", String::from_utf8_lossy(&last), said())
    });
}

/// Waits until a host's own daemon says that the public name is there.
fn told(guest: &Guest, address: &str) {
    let args = ["@127.0.0.1", "-p", "8600", "+short", "+tries=1", "+time=2", "www.example.test"];
    let mut last = String::new();
    let done = until(LIMIT, "the name inside", || {
        let out = guest.run(peers::tool("dig").ok()?).args(args).output().ok()?;
        last = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        (last == address).then_some(())
    });
    done.unwrap_or_else(|timeout| panic!("{timeout}; it was {last:?}"));
}

#[test]
fn one_host_of_a_home_has_the_port_and_another_takes_over() {
    let home = need!(Home::for_daemon(&["curl", "dig"]));
    // They speak to each other through the first one's firewall.
    home.nft_inside(
        "add rule inet host input ip saddr 192.168.77.0/24 meta l4proto { tcp, udp } th dport 8300 accept",
    )
    .unwrap();
    let (shed, barn) = (home.neighbour(3).unwrap(), home.neighbour(4).unwrap());
    let site =
        |last: u8| format!("pinholes = false\n{SITE}[mesh]\nadvertise = [\"192.168.77.{last}:8300\"]\n");
    let mut first = Daemon::start_by_lease(&home, LEASE, &site(2)).unwrap();
    let token = first.init().unwrap();
    let mut second = Daemon::start_on(&home, &shed, "shed", LEASE, &site(3)).unwrap();
    let mut third = Daemon::start_on(&home, &barn, "barn", LEASE, &site(4)).unwrap();
    for joining in [&mut second, &mut third] {
        let ticket = first.say(&["token", "create"]).unwrap();
        joining.say(&["join", ticket.trim()]).unwrap();
        joining.use_token(&token);
    }
    let _services = (serve(&home, None, "home").unwrap(), serve(&home, Some(&shed), "shed").unwrap());
    let register =
        ["register", "web", "--port", "1337", "--check-tcp", "127.0.0.1:1337", "--check-interval=200ms"];
    for node in [&first, &second] {
        until(LIMIT, "it to be a member", || node.say(&register).ok()).unwrap();
    }
    let name = ["--name", "www.example.test"];
    first.say(&[&["expose", "web", "--port", "8443:1337"][..], &name].concat()).unwrap();
    let said = || format!("{}\n{}", first.said(), second.said());
    answers(&home, "home", said);
    second.shows("node \"house\" has it for this home").unwrap();
    // Whoever asks another node of the home is told where the port is, too.
    told(&shed, "192.168.77.2");
    assert_eq!(home.mappings().unwrap(), ["8443/tcp>192.168.77.2:1337"]);

    // It dies: the router gives the port away when the lease is over, and the log has said to whom before.
    first.kill();
    second.mapped(&["8443/tcp>192.168.77.3:1337"]).unwrap();
    told(&shed, "192.168.77.3");
    answers(&home, "shed", || second.said());

    // Back again, it is the elder.
    first.restart().unwrap();
    first.mapped(&["8443/tcp>192.168.77.2:1337"]).unwrap();
    answers(&home, "home", || first.said());
    for mut node in [second, first, third] {
        node.stop().unwrap();
    }
    assert_eq!(home.mappings().unwrap(), Vec::<String>::new());
}
