//! Diplonat's README typed against real programs: Consul, miniupnpd, nft and iptables.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use peers::until;
use portolan_exposure::{Consul, Guard, Home, LIMIT, NameServer, Role, WAN_ROUTER, need};

const LEET: [&str; 3] =
    ["1337/tcp>192.168.77.2:1337", "1338/tcp>192.168.77.2:1338", "1339/tcp>192.168.77.2:1339"];
const DNS: [&str; 2] = ["53/tcp>192.168.77.2:53", "53/udp>192.168.77.2:53"];
const IRC: [&str; 2] = ["6666/udp>192.168.77.2:6666", "6667/udp>192.168.77.2:6667"];
const NAME: &str = "-tag=d53-a www.example.test";
const QUICK: [(&str, &str); 2] = [("DIPLONAT_REFRESH_TIME", "2"), ("DIPLONAT_EXPIRATION_TIME", "60")];

fn all() -> Vec<&'static str> {
    let mut all = [&LEET[..], &DNS, &IRC].concat();
    all.sort_unstable();
    all
}

fn register_all(consul: &Consul<'_>) {
    consul.register("fake_leet", "(diplonat (tcp_port 1337) (tcp_port 1338 1339))").unwrap();
    consul.register("fake_dns", "(diplonat (udp_port 53) (tcp_port 53))").unwrap();
    consul.register("fake_irc", "(diplonat (udp_port 6667 6666))").unwrap();
}

/// True when somebody outside gets an answer from port 1337 of the router.
fn reaches(home: &Home) -> bool {
    let url = format!("http://{WAN_ROUTER}:1337/");
    let curl = home.outside("curl").args(["-sf", "--max-time", "1", &url]).output();
    curl.is_ok_and(|out| out.stdout == b"leet")
}

fn readme(guard: Guard) {
    let home = need!(Home::build(guard));
    need!(peers::portolan());
    need!(peers::tool("curl"));
    need!(peers::python(&[]));
    let before = home.ruleset().unwrap();
    let consul = Consul::start(&home).unwrap();
    let _service = home.serve_web("0.0.0.0").unwrap();
    register_all(&consul);
    let role = Role::start(&home, &[]).unwrap();
    role.mapped(&all()).unwrap();
    until(LIMIT, "the world to reach the service", || reaches(&home).then_some(())).unwrap();
    consul.deregister("fake_leet").unwrap();
    let mut rest = [&DNS[..], &IRC].concat();
    rest.sort_unstable();
    role.mapped(&rest).unwrap();
    // The mapping goes first, the door behind it right after.
    let closed = || home.ruleset().is_ok_and(|rules| !rules.contains("1337")).then_some(());
    until(LIMIT, "the firewall to close", closed).unwrap();
    assert!(home.ruleset().unwrap().contains("6667"));
    role.stop().unwrap();
    assert_eq!(home.mappings().unwrap(), Vec::<String>::new());
    let after = home.ruleset().unwrap();
    assert!(!after.contains("DIPLONAT"), "{after}");
    if guard == Guard::Nft {
        assert_eq!(after, before);
    }
}

#[test]
fn the_readme_opens_and_closes_with_a_guard_of_nftables() {
    readme(Guard::Nft);
}

#[test]
fn the_readme_opens_and_closes_with_a_guard_of_iptables() {
    readme(Guard::Iptables);
}

#[test]
fn a_consul_that_is_gone_or_empty_handed_is_not_an_empty_one() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    let mut consul = Consul::start(&home).unwrap();
    register_all(&consul);
    let role = Role::start(&home, &QUICK).unwrap();
    role.mapped(&all()).unwrap();
    consul.kill();
    role.says("Consul is not heard").unwrap();
    assert_eq!(home.mappings().unwrap(), all());
    assert!(home.ruleset().unwrap().contains("1337"));
    // Back with a lower index and other services: an index that is asked for again would sleep for a minute.
    consul.restart().unwrap();
    consul.register("fake_leet", "(diplonat (tcp_port 1337) (tcp_port 1338 1339))").unwrap();
    role.mapped(&LEET).unwrap();
    role.stop().unwrap();
}

#[test]
fn what_others_undo_is_done_again() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    let consul = Consul::start(&home).unwrap();
    register_all(&consul);
    let role = Role::start(&home, &QUICK).unwrap();
    role.mapped(&all()).unwrap();
    // The router loses its power: another control port afterwards, and an empty table.
    home.forget_mappings().unwrap();
    home.restart_router().unwrap();
    role.mapped(&all()).unwrap();
    // Somebody flushes our chain, and somebody else the one that it hangs in.
    home.nft_inside("flush chain inet host DIPLONAT").unwrap();
    let opened = || home.ruleset().is_ok_and(|rules| rules.contains("1337")).then_some(());
    until(LIMIT, "the chain to be filled again", opened).unwrap();
    home.nft_inside("flush chain inet host input").unwrap();
    // Its owner wants answers still: without them the router is not heard either, and closing takes its half minute.
    home.nft_inside("add rule inet host input ct state established,related accept").unwrap();
    let jumps = || home.ruleset().is_ok_and(|rules| rules.contains("jump DIPLONAT")).then_some(());
    until(LIMIT, "the jump to be back", jumps).unwrap();
    role.stop().unwrap();
}

#[test]
fn another_hosts_port_stays_its_own_and_is_told() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    home.occupy(1338).unwrap();
    let consul = Consul::start(&home).unwrap();
    register_all(&consul);
    let role = Role::start(&home, &QUICK).unwrap();
    let mut wanted = all();
    wanted[1] = "1338/tcp>192.168.77.9:1338";
    role.mapped(&wanted).unwrap();
    role.says("the port is held by 192.168.77.9").unwrap();
    role.stop().unwrap();
    assert_eq!(home.mappings().unwrap(), ["1338/tcp>192.168.77.9:1338"]);
}

#[test]
fn a_bad_tag_is_told_with_its_column_and_the_others_are_done() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    let consul = Consul::start(&home).unwrap();
    consul.register("bad", "(diplonat (tcp_port 80) (tcp_prt 81))").unwrap();
    consul.register("good", "(diplonat (tcp_port 1337))").unwrap();
    let role = Role::start(&home, &[]).unwrap();
    role.mapped(&[LEET[0]]).unwrap();
    role.says("service=bad tag=\"(diplonat (tcp_port 80) (tcp_prt 81))\" column=26").unwrap();
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    let consul = Consul::start(&home).unwrap();
    register_all(&consul);
    let role = Role::start(&home, &[]).unwrap();
    role.mapped(&all()).unwrap();
    role.kill();
    consul.deregister("fake_irc").unwrap();
    consul.deregister("fake_dns").unwrap();
    let role = Role::start(&home, &[]).unwrap();
    role.mapped(&LEET).unwrap();
    until(LIMIT, "old rules to go", || (!home.ruleset().unwrap().contains("6667")).then_some(())).unwrap();
    role.stop().unwrap();
}

#[test]
fn a_router_with_pcp_alone_or_nat_pmp_alone_will_do() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    home.silence_upnp().unwrap();
    let consul = Consul::start(&home).unwrap();
    register_all(&consul);
    let role = Role::start(&home, &QUICK).unwrap();
    role.mapped(&all()).unwrap();
    role.says("router=\"PCP at 192.168.77.1\" lease_s=60").unwrap();
    consul.deregister("fake_leet").unwrap();
    let mut rest = [&DNS[..], &IRC].concat();
    rest.sort_unstable();
    role.mapped(&rest).unwrap();
    role.stop().unwrap();
    assert_eq!(home.mappings().unwrap(), Vec::<String>::new());
}

#[test]
fn a_name_is_shown_when_its_door_is_open_and_gone_with_it() {
    let home = need!(Home::build(Guard::Nft));
    need!(peers::portolan());
    need!(peers::tool("knotd"));
    need!(peers::tool("dig"));
    let names = NameServer::start(&home).unwrap();
    let key = home.folder.path().join("ddns.key");
    std::fs::write(&key, NameServer::KEY).unwrap();
    let consul = Consul::start(&home).unwrap();
    let ports = "-tag=(diplonat (tcp_port 1337))";
    consul.say(&["services", "register", "-name=web", ports, NAME]).unwrap();
    let key = key.display().to_string();
    let variables = [
        ("DIPLONAT_DNS_SERVER", NameServer::ADDRESS),
        ("DIPLONAT_DNS_KEY", &key),
        ("DIPLONAT_DNS_ZONES", "example.test"),
    ];
    let role = Role::start(&home, &variables).unwrap();
    names.shows("www.example.test", "A", &[WAN_ROUTER]).unwrap();
    assert_eq!(home.mappings().unwrap(), [LEET[0]]);
    consul.deregister("web").unwrap();
    role.mapped(&[]).unwrap();
    // The name went before the mapping did.
    names.shows("www.example.test", "A", &[]).unwrap();
    let said = role.said();
    let (name, mapping) = (said.find("a public name is gone"), said.find("removed a mapping"));
    assert!(name.is_some() && name < mapping, "{said}");
    // A port that another host holds: the name would lead to somebody else, and is not shown.
    home.occupy(1338).unwrap();
    consul.say(&["services", "register", "-name=web", "-tag=(diplonat (tcp_port 1338))", NAME]).unwrap();
    role.says("1338/tcp is not mapped").unwrap();
    names.shows("www.example.test", "A", &[]).unwrap();
    role.stop().unwrap();
}
