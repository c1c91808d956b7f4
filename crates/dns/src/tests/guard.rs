//! Cookies and limits, on both paths.

use std::net::IpAddr;

use domain::base::iana::Rtype;

use crate::config::{Config, RateLimit};
use crate::fast::{self, Outcome, Plain};
use crate::guard::Now;
use crate::guard::limit::Verdict as Limit;
use crate::lookup::WhenClosed;
use crate::serve::Judged;
use crate::slow::{self, Query, Transport, Verdict};
use crate::tests::answer::{self, Manner, packet, read};
use crate::tests::world::{World, address_of};
use crate::wire::question::Question;

const NAME: &str = "web.service.consul";
const BADCOOKIE: u16 = 23;

fn world() -> World {
    let rate_limit = RateLimit { responses_per_second: 1, slip: 1, ..RateLimit::default() };
    let mut world = World::new(Config { rate_limit, ..Config::default() });
    world.run("node here 10.0.0.1");
    world.run("register web@here 10.0.0.2:80");
    world
}

/// A query with an OPT record that has a cookie.
fn with_cookie(cookie: &[u8]) -> Vec<u8> {
    let mut bytes = packet(NAME, Rtype::A, Manner { edns: Some(1232), tcp: false });
    let length = bytes.len();
    bytes[length - 2..].copy_from_slice(&(cookie.len() as u16 + 4).to_be_bytes());
    bytes.extend([0, 10, 0, cookie.len() as u8]);
    bytes.extend(cookie);
    bytes
}

/// The last 24 bytes of an answer that ends with a cookie.
fn cookie_of(answer: &[u8]) -> Vec<u8> {
    let option = &answer[answer.len() - 28..];
    assert_eq!(option[..4], [0, 10, 0, 24], "a cookie option of both parts");
    option[4..].to_vec()
}

fn slip(world: &World, packet: &[u8], from: IpAddr) -> (Option<Vec<u8>>, Option<Verdict>) {
    let (now, mut question, mut out) = (Now::read(), Question::default(), [0; 4096]);
    fast::read(packet, &mut question).unwrap();
    let plain = Plain::new(&world.responder, &world.zone, &question, from, now);
    let query = Query { packet, transport: Transport::Udp, from, when_closed: WhenClosed::Open, now };
    let slow = slow::limited(&world.responder, query, true);
    match plain.is_proven() {
        true => (None, slow),
        false => match plain.write_slip(&world.responder, packet, &mut out) {
            Outcome::Answered { length, .. } => (Some(out[..length].to_vec()), slow),
            other => panic!("{other:?}"),
        },
    }
}

#[test]
fn both_paths_give_the_same_cookie() {
    let world = world();
    let from = address_of("remote");
    for cookie in [&b"01234567"[..], b"0123456789abcdefghijklmn"] {
        let packet = with_cookie(cookie);
        let fast = answer::fast(&world, &packet, from, 0).unwrap();
        let slow = answer::slow(&world, &packet, from, 0, false).unwrap();
        assert_eq!(read(&fast).answers, read(&slow).answers);
        assert_eq!(cookie_of(&fast)[..8], cookie[..8]);
        assert_eq!(cookie_of(&fast)[..12], cookie_of(&slow)[..12]);
    }
}

#[test]
fn a_client_that_shows_its_cookie_is_not_limited() {
    let world = world();
    let from = address_of("remote");
    let first = answer::fast(&world, &with_cookie(b"01234567"), from, 0).unwrap();
    let known = with_cookie(&cookie_of(&first));
    let (fast, slow) = slip(&world, &known, from);
    assert!(fast.is_none() && slow.is_none());
    let (fast, _) = slip(&world, &known, "192.0.2.77".parse().unwrap());
    assert!(fast.is_some(), "another address");
}

#[test]
fn beyond_the_rate_a_client_is_told_how_to_come_back() {
    let world = world();
    let from = address_of("remote");
    assert_eq!(world.responder.guard.judge(from, Now::read()), Limit::Answer);
    assert_eq!(world.responder.guard.judge(from, Now::read()), Limit::Answer);
    assert_eq!(world.responder.guard.judge(from, Now::read()), Limit::Slip);
    let plain = packet(NAME, Rtype::A, Manner { edns: None, tcp: false });
    for (packet, truncated, code, most) in [
        (plain.clone(), true, 0, plain.len()),
        (with_cookie(b"01234567"), false, BADCOOKIE, plain.len() + 39),
    ] {
        let (fast, slow) = slip(&world, &packet, from);
        let Some(Verdict::Reply { bytes: slow, .. }) = slow else { panic!("{slow:?}") };
        for answer in [fast.unwrap(), slow] {
            assert!(answer.len() <= most, "{} bytes for {}", answer.len(), packet.len());
            let read = read(&answer);
            assert!(read.answers.is_empty() && read.question.starts_with(NAME));
            let said = read.opt.map_or(u16::from(read.code.to_int()), |(_, _, code)| code);
            assert_eq!((read.truncated, said), (truncated, code));
        }
    }
}

/// Of several destinations every lookup draws one, and that can be seen: each takes a random number.
#[test]
fn beyond_the_rate_nothing_is_looked_up() {
    let mut world = world();
    world.run("register next@here 10.0.0.3:80");
    world.run("redirect web web=1 next=1");
    let draws = |packet: &[u8], from: IpAddr| {
        let mut question = Question::default();
        fast::read(packet, &mut question).unwrap();
        fastrand::seed(7);
        let judged = Judged::new(&world.responder, &world.zone, &question, from, Now::read());
        let drew = fastrand::u64(..) != fastrand::Rng::with_seed(7).u64(..);
        (matches!(judged, Judged::Answer(..)), drew)
    };
    let plain = packet(NAME, Rtype::A, Manner { edns: None, tcp: false });
    let from = address_of("remote");
    assert_eq!(draws(&plain, from), (true, true), "within the rate");
    let beyond: Vec<_> = (0..20).map(|_| draws(&plain, from)).filter(|(answered, _)| !answered).collect();
    assert!(beyond.len() >= 15 && beyond.iter().all(|(_, drew)| !drew), "{beyond:?}");
    let first = answer::fast(&world, &with_cookie(b"01234567"), from, 0).unwrap();
    assert_eq!(draws(&with_cookie(&cookie_of(&first)), from), (true, true), "with a cookie");
    assert_eq!(draws(&plain, address_of("local")), (true, true), "on this host");
}

#[test]
fn a_cookie_of_an_impossible_length_is_malformed() {
    let world = world();
    for length in [0, 7, 9, 41] {
        let packet = with_cookie(&vec![7; length]);
        let from = address_of("remote");
        assert!(answer::fast(&world, &packet, from, 0).is_none());
        let answer = read(&answer::slow(&world, &packet, from, 0, false).unwrap());
        assert_eq!(answer.code.to_int(), 1, "{length}");
    }
}
