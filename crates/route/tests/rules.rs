//! Rules: the compiled form against the plain meaning, scenarios of every kind of source, and redirections.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use catalog::testing::intention;
use catalog::{
    Action, Catalog, Command, Destination, Direction, Envelope, Intention, IntentionCommand, Mode, Origin,
    Redirection, RedirectionCommand, Settings, Snapshot, Source,
};
use portolan_route::{Caller, Denial, End, Facets, Here, PeerHost, Principal, Routes, Witness};
use proptest::prelude::*;

fn rule(text: &str) -> Intention {
    let words: Vec<&str> = text.split_whitespace().collect();
    let action = if words[0] == "allow" { Action::Allow } else { Action::Deny };
    let mut rule = Intention::new(action, Source::parse(words[1]).unwrap(), words[2]);
    for word in &words[3..] {
        match *word {
            "in" => rule.direction = Some(Direction::In),
            "out" => rule.direction = Some(Direction::Out),
            scheme => rule.scheme = Some(scheme.into()),
        }
    }
    rule.id = rule.default_id();
    rule
}

/// A node with these rules, and a service of the name `db` that has an endpoint.
fn snapshot(mode: Mode, rules: &[&str], redirections: &[Redirection]) -> Snapshot {
    let mut catalog = Catalog::default();
    let mut index = 0;
    let mut apply = |command| {
        index += 1;
        let envelope = Envelope { node: "n".into(), epoch: 1, sequence: index, time_ms: 1, command };
        let outcome = catalog.apply(index, &envelope).outcome;
        assert!(outcome.is_done(), "{outcome:?}");
    };
    apply(Command::Configure(Settings { mode, ..Settings::default() }));
    for name in ["db", "db2", "web"] {
        apply(registration(name));
    }
    let intentions = rules.iter().map(|text| rule(text)).collect();
    apply(Command::Intention(IntentionCommand::Replace { intentions, cas: None }));
    for redirection in redirections {
        apply(Command::Redirection(RedirectionCommand::Put(redirection.clone().into())));
    }
    catalog.snapshot()
}

fn registration(name: &str) -> Command {
    let envelope = serde_json::json!({
        "Register": {
            "node": { "def": { "name": "n", "id": "", "address": "127.0.0.1" } },
            "on": "n",
            "instance": { "def": { "id": name, "service": name, "port": 80 } },
        }
    });
    serde_json::from_value(envelope).unwrap()
}

fn routes(rules: &[&str]) -> Routes {
    let identities = BTreeMap::from([(1000, Arc::from("web"))]);
    let here = Here { node: "n".into(), identities, ..Here::default() };
    Routes::project_on(&snapshot(Mode::Enforce, rules, &[]), Arc::new(here))
}

fn may(rules: &[&str], who: &Principal, name: &str) -> bool {
    routes(rules).permit(who, name).is_ok()
}

fn from(address: &str) -> Principal {
    Principal::Anonymous { from: address.parse().unwrap() }
}

#[test]
fn the_first_rule_that_matches_decides_and_none_denies() {
    let user = |uid| Principal::Local { uid };
    assert!(!may(&[], &user(0), "db"));
    assert!(may(&["allow uid:0 db", "deny any *"], &user(0), "DB"));
    assert!(!may(&["deny any *", "allow uid:0 db"], &user(0), "db"));
    assert!(!may(&["allow uid:0 db"], &user(1), "db"));
    assert!(may(&["allow web db"], &user(1000), "db"), "a user has the name that the configuration gives");
    assert!(may(&["allow node:n db"], &user(5), "db"), "and is on this node");
    assert!(may(&["allow node:n db"], &Principal::Node { name: "n".into() }, "db"));
    assert!(!may(&["allow node:m db"], &Principal::Node { name: "n".into() }, "db"));
}

#[test]
fn networks_go_by_their_order_and_not_by_their_size() {
    assert!(may(&["allow 10.0.0.0/8 db", "deny 10.1.0.0/16 db"], &from("10.1.2.3"), "db"));
    assert!(!may(&["deny 10.1.0.0/16 db", "allow 10.0.0.0/8 db"], &from("10.1.2.3"), "db"));
    assert!(may(&["deny 10.1.0.0/16 db", "allow 10.0.0.0/8 db"], &from("10.2.0.0"), "db"));
    assert!(may(&["allow 10.0.0.0/8 db"], &from("::ffff:10.255.255.255"), "db"), "mapped into IPv6");
    assert!(!may(&["allow 10.0.0.0/8 db"], &from("11.0.0.0"), "db"));
    assert!(may(&["allow ::/0 db"], &from("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "db"));
}

#[test]
fn schemes_directions_and_the_other_side_are_asked() {
    let routes =
        routes(&["deny any db in udp", "allow host:example.com:9000 db out tls", "allow any db in tcp"]);
    let may = |who: &Principal, scheme: &'static str, host: Option<(&str, u16)>| {
        let host = host.map(|(name, port)| PeerHost { name: name.into(), port: Some(port) });
        let scheme = Cow::Borrowed(scheme);
        routes.permit(Caller { host: host.as_ref(), ..Caller::by(who, &scheme) }, "db").is_ok()
    };
    let (local, remote) = (Principal::Local { uid: 5 }, from("192.0.2.1"));
    assert!(may(&remote, "tcp", None) && !may(&remote, "udp", None) && !may(&remote, "tls", None));
    assert!(!may(&local, "tcp", None), "that rule is about what comes in");
    assert!(may(&local, "tls", Some(("example.com", 9000))));
    assert!(!may(&local, "tls", Some(("example.com", 9001))));
    assert!(!may(&local, "tls", Some(("example.org", 9000))));
}

#[test]
fn a_host_is_known_by_its_name_and_by_its_address_and_who_goes_out_goes_out() {
    let routes = routes(&[
        "deny host:10.0.0.5 db",
        "allow host:inner.example:80 db out",
        "deny any db out",
        "allow any db",
    ]);
    let host = |name: &str| PeerHost { name: name.into(), port: Some(80) };
    let service = Principal::Identity { id: "spiffe://elsewhere/service/web".into() };
    let may = |name: &str, address: &str| {
        let (written, resolved) = (host(name), host(address));
        let caller = Caller::by(&service, &Cow::Borrowed("tcp")).outward(&written, Some(&resolved));
        routes.permit(caller, "db").is_ok_and(|(_, permit)| routes.still_permits(&permit))
    };
    assert!(may("inner.example", "10.0.0.4"));
    assert!(!may("inner.example", "10.0.0.5"), "another name of what is denied by its address");
    assert!(may("10.0.0.4", "inner.example"));
    assert!(!may("other.example", "10.0.0.4"), "a service goes out like any program");
    assert!(routes.permit(&service, "db").is_ok(), "and comes in from elsewhere");
}

#[test]
fn only_the_clusters_own_domain_gives_its_names() {
    // Without a cluster there is no domain, and a SPIFFE id only stands for itself.
    let id = |id: &str| Principal::Identity { id: id.into() };
    assert!(!may(&["allow web db"], &id("spiffe://elsewhere/service/web"), "db"));
    assert!(!may(&["allow node:n db"], &id("spiffe://elsewhere/node/n"), "db"));
    assert!(may(&["allow spiffe://elsewhere/service/web db"], &id("spiffe://elsewhere/service/web"), "db"));
    let delegated = Principal::Delegated { node: "m".into(), uid: 1000, identity: None };
    assert!(
        !may(&["allow uid:1000 db", "allow web db"], &delegated, "db"),
        "another host's users are not ours"
    );
    assert!(may(&["allow node:m db"], &delegated, "db"));
}

#[test]
fn a_denial_names_rule_file_and_line() {
    let mut denying = rule("deny uid:7 db");
    denying.origin = Some(Origin { file: "rules.toml".into(), line: 14 });
    let here = Here { rules: vec![denying.into()], ..Here::default() };
    let routes = Routes::project_on(&snapshot(Mode::Enforce, &["allow any *"], &[]), here.into());
    let denial = routes.permit(&Principal::Local { uid: 7 }, "db").unwrap_err();
    let expected = "user 7 may not reach \"db\": rule \"deny uid:7 to db\" (rules.toml:14) denies it";
    assert_eq!(denial.to_string(), expected);
    assert!(routes.permit(&Principal::Local { uid: 8 }, "db").is_ok(), "the cluster's rules come after");
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Witness for Heard {
    fn would_deny(&self, who: &Principal, scheme: &str, service: &str, rule: Option<&Intention>) {
        let rule = rule.map_or_else(|| "none".to_owned(), ToString::to_string);
        self.0.lock().unwrap().push(format!("{who} by {scheme} to {service}: {rule}"));
    }
}

#[test]
fn observing_allows_tells_and_counts() {
    let heard = Arc::new(Heard::default());
    let here = Here { witness: Some(heard.clone()), ..Here::default() };
    let rules = &["deny uid:1 db", "allow uid:2 db"];
    let routes = Routes::project_on(&snapshot(Mode::Observe, rules, &[]), Arc::new(here));
    for uid in [1, 2, 3] {
        let (_, permit) = routes.permit(&Principal::Local { uid }, "db").unwrap();
        assert!(routes.still_permits(&permit));
    }
    let expected = ["user 1 by tcp to db: deny uid:1 to db", "user 3 by tcp to db: none"];
    assert_eq!(*heard.0.lock().unwrap(), expected);
    let hits: Vec<u64> = routes.policy().rules().iter().map(|rule| rule.hits).collect();
    assert_eq!((hits, routes.policy().rules().unmatched()), (vec![1, 1], 1));
    // A change of the rules forgets no count, and a permit is judged by what holds now.
    let (_, permit) = routes.permit(&Principal::Local { uid: 3 }, "db").unwrap();
    let stricter = snapshot(Mode::Enforce, &["allow uid:4 db", "deny uid:1 db"], &[]);
    let after = routes.advance_rules(&stricter).unwrap();
    let hits: Vec<u64> = after.policy().rules().iter().map(|rule| rule.hits).collect();
    assert_eq!(hits, [0, 1]);
    assert!(!after.still_permits(&permit));
    assert!(after.advance_rules(&stricter).is_none(), "nothing changed");
}

fn canary() -> Redirection {
    let destination = |to: &str, weight| Destination { to: to.into(), weight };
    Redirection { to: vec![destination("web", 9), destination("db", 1)], ..Redirection::new("web", "") }
}

#[test]
fn shares_are_dealt_evenly() {
    let routes = Routes::project(&snapshot(Mode::Open, &[], &[canary()]));
    let who = Principal::Local { uid: 0 };
    let dealt: Vec<String> =
        (0..40).map(|_| routes.permit(&who, "web").unwrap().0.service.to_string()).collect();
    assert_eq!(dealt.iter().filter(|name| *name == "db").count(), 4);
    for ten in dealt.chunks(10) {
        assert_eq!(ten.iter().filter(|name| *name == "db").count(), 1, "one of every ten");
    }
    assert_eq!(routes.decide(&who, "web"), routes.decide(&who, "web"), "looking takes no turn");
}

#[test]
fn rules_are_about_where_a_name_leads() {
    let redirections = [Redirection::new("old", "older"), Redirection::new("older", "db")];
    let snapshot = snapshot(Mode::Enforce, &["allow any db"], &redirections);
    let routes = Routes::project(&snapshot);
    let who = Principal::Local { uid: 0 };
    let (backend, permit) = routes.permit(&who, "OLD").unwrap();
    assert_eq!((&*backend.service, &**permit.service()), ("db", "db"));
    let hops: Vec<String> = routes.lead("old").unwrap().hops.iter().map(|hop| hop.to.to_string()).collect();
    assert_eq!(hops, ["older", "db"]);
    assert!(matches!(routes.permit(&who, "web"), Err(Denial::Forbidden { .. })));
}

#[test]
fn uris_are_dialed_where_they_are_plain() {
    let redirections = [
        Redirection::new("plain", "tcp://192.0.2.1:80"),
        Redirection::new("named", "tcp://example.com:80/"),
        Redirection::new("secret", "tls://example.com:443/db"),
    ];
    let routes = Routes::project(&snapshot(Mode::Enforce, &["allow uid:0 *"], &redirections));
    let who = Principal::Local { uid: 0 };
    for name in ["plain", "named"] {
        assert_eq!(routes.permit(&who, name).unwrap().0.endpoints.len(), 1);
        assert!(matches!(routes.permit(&Principal::Local { uid: 1 }, name), Err(Denial::Forbidden { .. })));
    }
    assert!(matches!(routes.permit(&who, "secret"), Err(Denial::OtherScheme { .. })));
    let End::Uri { name, uri } = routes.lead("secret").unwrap().end else { panic!("a URI") };
    assert_eq!((&*name, &*uri), ("secret", "tls://example.com:443/db"));
}

#[test]
fn a_circle_that_two_configurations_make_is_refused_with_its_chain() {
    let here = Here { redirections: vec![Redirection::new("db", "web").into()], ..Here::default() };
    let routes =
        Routes::project_on(&snapshot(Mode::Open, &[], &[Redirection::new("web", "db")]), Arc::new(here));
    let denial = routes.permit(&Principal::Local { uid: 0 }, "db").unwrap_err();
    assert_eq!(denial.to_string(), "redirections lead in a circle: db → web → db");
    assert!(matches!(routes.decide(&Principal::Local { uid: 0 }, "db").verdict, Err(Denial::Circle { .. })));
}

/// What the rules mean, said as plainly as possible.
fn plainly(rules: &[Intention], facets: &Facets<'_>, service: &str) -> Option<usize> {
    let source = |source: &Source| match source {
        Source::Any => true,
        Source::Identity(name) => facets.names.contains(&Some(&**name)),
        Source::Uid(uid) => facets.uid == Some(*uid),
        Source::Network(network) => facets.from.is_some_and(|from| network.contains(from)),
        Source::Node(name) => facets.node == Some(&**name),
        Source::Host { name, port } => [facets.host, facets.resolved]
            .into_iter()
            .flatten()
            .any(|host| host.name == *name && (port.is_none() || *port == host.port)),
    };
    rules.iter().position(|rule| {
        (&*rule.service == "*" || rule.service.eq_ignore_ascii_case(service))
            && source(&rule.source)
            && rule.scheme.as_deref().is_none_or(|scheme| scheme == facets.scheme)
            && rule.direction.is_none_or(|direction| direction == facets.direction)
    })
}

fn address() -> impl Strategy<Value = Option<IpAddr>> {
    let some =
        ["10.0.0.1", "10.1.0.1", "10.1.2.1", "10.1.2.3", "11.0.0.0", "fd00::1", "::1", "::ffff:10.1.2.3"];
    let some: Vec<IpAddr> = some.iter().map(|text| text.parse().unwrap()).collect();
    proptest::option::of(proptest::sample::select(some))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn compiled_is_plain(
        rules in proptest::collection::vec(intention(), 0..40),
        uid in proptest::option::of(0..3u32),
        names in (proptest::option::of(0..3u32), proptest::option::of(0..3u32)),
        node in proptest::option::of(0..3u32),
        from in address(),
        host in proptest::option::of((0..2u32, proptest::option::of(80..82u16))),
        address in proptest::option::of(0..2u32),
        (scheme, outward) in (proptest::sample::select(vec!["tcp", "tls", "udp"]), any::<bool>()),
        service in proptest::sample::select(vec!["s0", "S1", "s1", "s2", "s9"]),
    ) {
        let here = Here { rules: rules.iter().cloned().map(Arc::new).collect(), ..Here::default() };
        let routes = Routes::project_on(&Snapshot::default(), Arc::new(here));
        let names = [names.0, names.1].map(|name| name.map(|number| format!("w{number}")));
        let node = node.map(|number| format!("n{number}"));
        let host = host.map(|(number, port)| PeerHost { name: format!("h{number}").into(), port });
        let resolved = host.as_ref().zip(address).map(|(host, number)| PeerHost {
            name: format!("h{number}").into(),
            port: host.port,
        });
        let facets = Facets {
            uid,
            names: [names[0].as_deref(), names[1].as_deref()],
            node: node.as_deref(),
            from,
            host: host.as_ref(),
            resolved: resolved.as_ref(),
            scheme,
            direction: if outward { Direction::Out } else { Direction::In },
        };
        let ruling = routes.policy().rules().judge(&facets, service);
        let expected = plainly(&rules, &facets, service);
        prop_assert_eq!(ruling.rule.map(|at| at as usize), expected);
        let allows = expected.is_some_and(|at| rules[at].action == Action::Allow);
        prop_assert_eq!(ruling.allowed, allows);
    }
}
