//! HTTPS for the world: name, certificate and mapping follow the service, and nothing else is to be seen.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use peers::until;
use portolan_exposure::{Authority, Daemon, Home, LIMIT, NameServer, REGISTER_INSIDE, WAN_ROUTER, need};

const FRONT: &str = "[proxy.public]\ntls = [\"0.0.0.0:8443\"]\nhttp = [\"0.0.0.0:8880\"]\n";
const MAPPED: [&str; 2] = ["443/tcp>192.168.77.2:8443", "80/tcp>192.168.77.2:8880"];

/// What somebody outside gets for a name, who trusts the authority: the status, the protocol, the body.
fn get(home: &Home, authority: &Authority, url: &str, host: &str) -> String {
    let ca = authority.roots().display().to_string();
    let resolve = [format!("{host}:443:{WAN_ROUTER}"), format!("{host}:80:{WAN_ROUTER}")];
    let shown = " %{http_code} %{http_version} %{redirect_url}";
    let args = [
        "-s",
        "--max-time",
        "20",
        "--cacert",
        &ca,
        "-w",
        shown,
        "--resolve",
        &resolve[0],
        "--resolve",
        &resolve[1],
    ];
    let output = home.outside("curl").args(args).arg(url).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_service_has_its_name_and_its_certificate_as_long_as_it_lives() {
    let home = need!(Home::for_daemon(&["curl", "knotd", "dig", "pebble"]));
    let names = NameServer::start(&home).unwrap();
    let authority = Authority::start(&home).unwrap();
    let before = home.ruleset().unwrap();
    // The world reaches it through the proxy or not at all.
    let mut service = home.serve_web("127.0.0.1").unwrap();
    let more = format!("{}{}{FRONT}", home.public_dns().unwrap(), authority.section());
    let mut daemon = Daemon::start(&home, &more).unwrap();
    daemon.say(&["expose", "web", "--https", "--name", "www.example.test"]).unwrap();
    daemon.say(&REGISTER_INSIDE).unwrap();

    let secured = || get(&home, &authority, "https://www.example.test/", "www.example.test");
    until(2 * LIMIT, "HTTPS with the authority's certificate", || (secured() == "leet 200 2 ").then_some(()))
        .unwrap_or_else(|timeout| {
            panic!("{timeout}: {}\n{:?}\n{}", secured(), daemon.say(&["exposures"]), daemon.said())
        });
    daemon.shows("web 443/tcp -> 8443: open https://www.example.test/").unwrap();
    daemon.shows("certificate  holds    www.example.test, by https://45.83.0.2:14000/dir").unwrap();
    daemon.mapped(&MAPPED).unwrap();
    // Plain HTTP sends on; no other name leads anywhere, not even one that the registry knows.
    let plain = get(&home, &authority, "http://www.example.test/a?b", "www.example.test");
    assert_eq!(plain, " 308 1.1 https://www.example.test/a?b");
    for inside in ["web", "web.svc.internal"] {
        assert_eq!(get(&home, &authority, &format!("http://{inside}/"), inside), " 404 1.1 ");
        assert_eq!(get(&home, &authority, &format!("https://{inside}/"), inside), " 000 0 ");
    }

    service.kill();
    names.shows("www.example.test", "A", &[]).unwrap();
    daemon.mapped(&[]).unwrap();
    let closed = || home.ruleset().is_ok_and(|rules| !rules.contains("8443")).then_some(());
    until(LIMIT, "the firewall to close", closed).unwrap();
    daemon.shows("is critical").unwrap();

    let _service = home.serve_web("127.0.0.1").unwrap();
    names.shows("www.example.test", "A", &[WAN_ROUTER]).unwrap();
    until(LIMIT, "HTTPS again, with the certificate that was kept", || {
        (secured() == "leet 200 2 ").then_some(())
    })
    .unwrap();
    daemon.stop().unwrap();
    assert_eq!(home.ruleset().unwrap(), before);
    assert_eq!(home.mappings().unwrap(), Vec::<String>::new());
}
