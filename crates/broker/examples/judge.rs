//! How long it takes to judge one connection by so many rules: `cargo run --profile fast -p portolan-broker --example judge
//! [RULES]`. Prints one `name value unit` line each, medians of five runs.

use std::borrow::Cow;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use catalog::{Action, Intention, Mode, Snapshot, Source};
use route::{Caller, Here, Principal, Routes};

/// Connections that are judged in one run.
const CONNECTIONS: u32 = 100_000;

fn main() {
    let count: u32 = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(10_000);
    let rules = (0..count - 1).map(rule).chain([allow_all()]).map(Arc::new).collect();
    let here = Here { node: "here".into(), rules, mode: Mode::Enforce, ..Here::default() };
    let routes = Routes::project_on(&Snapshot::default(), Arc::new(here));

    let known: Vec<(Principal, String)> = (0..CONNECTIONS).map(|number| caller(number * 7 % count)).collect();
    println!("route.judge.mixed {:.0} ns for {count} rules", median(&routes, &known));
    let strangers: Vec<(Principal, String)> = (0..CONNECTIONS).map(|number| caller(count + number)).collect();
    println!("route.judge.last {:.0} ns for {count} rules", median(&routes, &strangers));
}

/// Of every kind, about a thousand services and about all.
fn rule(number: u32) -> Intention {
    let source = match number % 4 {
        0 => Source::Uid(number),
        1 => Source::Identity(format!("service-{number}").into()),
        2 => match catalog::Network::parse(&format!("{}/32", address(number))) {
            Some(network) => Source::Network(network),
            None => Source::Any,
        },
        _ => Source::Node(format!("node-{number}").into()),
    };
    let service = if number.is_multiple_of(3) { "*".to_owned() } else { service(number) };
    let mut rule = Intention::new(Action::Deny, source, &service);
    rule.id = rule.default_id();
    rule
}

fn allow_all() -> Intention {
    let mut rule = Intention::new(Action::Allow, Source::Any, "*");
    rule.id = rule.default_id();
    rule
}

/// Whom the rule of this number is about, if there is one, and what it is about.
fn caller(number: u32) -> (Principal, String) {
    let principal = match number % 4 {
        0 => Principal::Local { uid: number },
        1 => Principal::Identity { id: format!("service-{number}").into() },
        2 => Principal::Anonymous { from: IpAddr::V4(address(number)) },
        _ => Principal::Node { name: format!("node-{number}").into() },
    };
    (principal, service(number))
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + number)
}

fn service(number: u32) -> String {
    format!("backend-{}", number % 1000)
}

/// Nanoseconds for one of them.
fn median(routes: &Routes, callers: &[(Principal, String)]) -> f64 {
    let scheme = Cow::Borrowed("tcp");
    let mut runs: Vec<f64> = (0..5)
        .map(|_| {
            let started = Instant::now();
            for (principal, service) in callers {
                black_box(routes.policy().ruling(&Caller::by(principal, &scheme), service));
            }
            started.elapsed().as_secs_f64() * 1e9 / callers.len() as f64
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    runs[2]
}
