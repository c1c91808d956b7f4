//! Scenarios as text. A line that starts with `ask` has the answer behind `->`; any other changes the world.
//!
//! ```text
//! ask CLIENT NAME TYPE [edns=SIZE] [tcp] -> ANSWER
//! ```
//!
//! `PORTOLAN_BLESS=1` rewrites the answers; read the difference before keeping it.

use std::fmt::Write;
use std::time::Duration;

use domain::base::iana::Rtype;
use state::units::Span;

use crate::config::{Config, ConsulNames, Forward};
use crate::slow::Verdict;
use crate::tests::answer::{self, Manner, packet, read};
use crate::tests::world::{World, address_of};

fn ask(world: &World, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["ask", client, name, rtype, ref options @ ..] = words[..] else { panic!("what is \"{line}\"?") };
    let mut manner = Manner::default();
    for option in options {
        match option.split_once('=') {
            Some(("edns", size)) => manner.edns = Some(size.parse().unwrap()),
            None if *option == "tcp" => manner.tcp = true,
            _ => panic!("what is \"{option}\"?"),
        }
    }
    let packet = packet(name, rtype.parse::<Rtype>().unwrap(), manner);
    let from = address_of(client);
    let fast = (!manner.tcp).then(|| answer::fast(world, &packet, from, 0)).flatten();
    let slow = answer::slow(world, &packet, from, 0, manner.tcp);
    if let Some(fast) = &fast {
        let (fast, slow) = (read(fast), read(slow.as_ref().unwrap()));
        assert!(fast.agrees_with_slow(&slow), "the paths disagree on: {line}\n{fast:#?}\n{slow:#?}");
    }
    match slow {
        Ok(bytes) => read(&bytes).summary(),
        Err(Verdict::Open { service }) => format!("open {service} first"),
        Err(Verdict::Forward) => "forward".to_owned(),
        Err(other) => format!("{other:?}"),
    }
}

fn play(name: &str, scenario: &str, config: Config) {
    let mut world = World::new(config);
    let mut actual = String::new();
    for line in scenario.lines() {
        match line.split_once("->") {
            Some((question, _)) => {
                let answer = ask(&world, question);
                writeln!(actual, "{question}-> {answer}").unwrap();
            }
            None => {
                if !line.is_empty() && !line.starts_with('#') {
                    world.run(line);
                    assert!(world.zone == world.projected(), "incremental differs from full after: {line}");
                }
                writeln!(actual, "{line}").unwrap();
            }
        }
    }
    if std::env::var_os("PORTOLAN_BLESS").is_some() {
        std::fs::write(format!("tests/data/{name}.txt"), &actual).unwrap();
        return;
    }
    for (line, (expected, actual)) in scenario.lines().zip(actual.lines()).enumerate() {
        assert_eq!(actual, expected, "{name}.txt, line {}", line + 1);
    }
}

#[test]
fn our_zone() {
    play("zone", include_str!("../../tests/data/zone.txt"), Config::default());
}

#[test]
fn names_that_lead_elsewhere() {
    play("redirect", include_str!("../../tests/data/redirect.txt"), Config::default());
}

#[test]
fn shares_are_drawn() {
    let mut world = World::new(Config::default());
    for line in [
        "node here 10.0.0.1",
        "register web/w1@here 10.0.0.11:80",
        "register next/n1@here 10.0.0.12:80",
        "redirect web web=9 next=1",
    ] {
        world.run(line);
    }
    let ask = || ask(&world, "ask remote web.svc.internal TXT");
    let next = (0..2000).filter(|_| ask().contains("10.0.0.12")).count();
    // Expected are 200, with a standard deviation of 13.
    assert!((100..300).contains(&next), "{next} of 2000");
}

#[test]
fn consul() {
    play("consul", include_str!("../../tests/data/consul.txt"), Config::default());
}

#[test]
fn settings() {
    let config = Config {
        service_ttl: [("Slow".to_owned(), Span(Duration::from_secs(60)))].into(),
        virtual_ips: false,
        bare_names: false,
        consul: ConsulNames {
            only_passing: true,
            udp_answers: 3,
            ttl: Duration::from_secs(9),
            ..ConsulNames::default()
        },
        ..Config::default()
    };
    play("settings", include_str!("../../tests/data/settings.txt"), config);
}

#[test]
fn forwarding() {
    let allow = vec!["198.51.100.0/24".to_owned().try_into().unwrap()];
    let forward = Forward { enabled: true, allow, ..Forward::default() };
    let config = Config { forward, ..Config::default() };
    play("forward", include_str!("../../tests/data/forward.txt"), config);
}

#[test]
fn public_names_inside_the_home() {
    let allow = vec!["192.168.77.0/24".to_owned().try_into().unwrap()];
    let forward = Forward { enabled: true, allow, ..Forward::default() };
    let config = Config { forward, ..Config::default() };
    play("indoors", include_str!("../../tests/data/indoors.txt"), config);
}
