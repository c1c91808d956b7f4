//! How much is made for an answer, which nobody sees on the wire.

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use route::{OpenVirtual, Routes, VirtualSocket};

use super::*;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::tests::answer::{self, Manner, packet, read};
use crate::tests::world::{World, address_of};
use crate::zone::entry::ServiceEntry;
use crate::{Shared, later};

const MANY: usize = 2000;

fn world() -> World {
    let mut world = World::new(Config::default());
    world.run("node here 10.0.0.1");
    for number in 0..MANY {
        let (high, low) = (number / 250, number % 250);
        world.run(&format!("register many/{number}@here 10.1.{high}.{low}:80 tags=blue"));
    }
    for number in 0..300 {
        world.run(&format!("register one-of-several-{number}@here 10.9.9.9:{number}"));
    }
    world
}

#[test]
fn no_more_records_are_made_than_can_fit() {
    let world = world();
    let from = address_of("remote");
    for (name, qtype) in [
        ("many.service.consul", Rtype::TXT),
        ("many.service.consul", Rtype::A),
        ("many.service.consul", Rtype::ANY),
        ("blue.many.service.consul", Rtype::A),
        ("blue.many.service.consul", Rtype::SRV),
        ("many.endpoints.svc.internal", Rtype::SRV),
        ("9.9.9.10.in-addr.arpa", Rtype::PTR),
    ] {
        for limit in [512, 1232] {
            let manner = Manner { edns: Some(limit), tcp: false };
            let packet = packet(name, qtype, manner);
            let request = Request::read(&packet).unwrap_or_else(|_| panic!("{name}"));
            let client = world.responder.client(&world.zone, from);
            let room = Room { transport: Transport::Udp, limit: limit.into() };
            for turn in [0, u32::MAX / 3, u32::MAX] {
                let made = sections(&world.responder, &world.zone, &request, client, room, turn)
                    .unwrap_or_else(|_| panic!("{name}"));
                let most = usize::from(limit) / 12 + 1;
                assert!(made.answers.len() <= most, "{name} {qtype}: {} records", made.answers.len());
                let sent = read(&answer::slow(&world, &packet, from, turn, false).unwrap());
                assert!(
                    sent.truncated && sent.answers.len() < made.answers.len(),
                    "{name} {qtype}: {sent:?}"
                );
            }
        }
    }
}

/// The entry that answers for the prepared query `mine`.
fn run(world: &World) -> Option<Arc<ServiceEntry>> {
    prepared::run(&world.zone, b"\x04mine").map(|prepared| prepared.selection().entry.clone())
}

#[test]
fn a_prepared_query_is_run_again_when_something_it_looks_at_changed() {
    let mut world = World::new(Config::default());
    let addresses = |world: &World| -> Vec<String> {
        let packet = packet("mine.query.consul", Rtype::A, Manner::default());
        let answer = read(&answer::slow(world, &packet, address_of("remote"), 0, false).unwrap());
        answer.answers.iter().filter_map(|line| line.split(' ').next_back()).map(str::to_owned).collect()
    };
    for line in ["node here 10.0.0.1", "node other 10.0.0.2", "register web/1@here :80", "query mine web"] {
        world.run(line);
    }
    let first = run(&world).unwrap();
    for line in ["register else@here :81", "query more else", "status else@here warning"] {
        world.run(line);
        assert!(Arc::ptr_eq(&first, &run(&world).unwrap()), "{line}");
    }
    for (line, expected) in [
        ("register web/2@other :80", &["10.0.0.1", "10.0.0.2"][..]),
        ("status 2@other critical", &["10.0.0.1"]),
        ("status 2@other passing", &["10.0.0.1", "10.0.0.2"]),
        ("status @here critical", &["10.0.0.2"]),
        ("status @here passing", &["10.0.0.1", "10.0.0.2"]),
        ("node other 10.0.0.7", &["10.0.0.1", "10.0.0.7"]),
        ("register Web/3@here 10.0.0.9:80", &["10.0.0.1", "10.0.0.7"]),
        ("deregister 1@here", &["10.0.0.7"]),
        ("gone other", &[]),
    ] {
        world.run(line);
        assert_eq!(addresses(&world), expected, "{line}");
        assert_eq!(addresses(&world), expected, "{line}, asked again");
    }
}

struct Nobody;

impl OpenVirtual for Nobody {
    fn open(&self, _: &str) -> std::pin::Pin<Box<dyn Future<Output = Option<VirtualSocket>> + Send + '_>> {
        Box::pin(std::future::ready(None))
    }
}

#[test]
fn answers_by_tcp_are_made_one_after_the_other() {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    let world = {
        let mut world = World::new(Config::default());
        world.run("node here 10.0.0.1");
        world.run("register web@here 10.0.0.2:80");
        world
    };
    let shared = Shared {
        responder: world.responder,
        zone: Arc::new(ArcSwap::from_pointee(world.zone)),
        metrics: Metrics::register(&mut Registry::default()),
        open_virtual: Arc::new(Nobody),
        routes: state::channel(Routes::default()).1,
        forwarder: None,
        turns: later::Turns::new(),
    };
    let packet = packet("web.service.consul", Rtype::A, Manner { edns: None, tcp: true });
    let mut context = Context::from_waker(Waker::noop());
    let busy = shared.turns.of(false).try_acquire().unwrap();
    let mut remote = pin!(later::answer(&shared, &packet, address_of("remote")));
    assert!(remote.as_mut().poll(&mut context).is_pending(), "another answer is being made");
    let mut local = pin!(later::answer(&shared, &packet, address_of("local")));
    assert!(matches!(local.as_mut().poll(&mut context), Poll::Ready(Some(_))), "this host does not wait");
    drop(busy);
    assert!(matches!(remote.as_mut().poll(&mut context), Poll::Ready(Some(_))));
}
