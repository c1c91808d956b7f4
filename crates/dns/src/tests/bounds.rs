//! Bytes that nobody sane sends.

use domain::base::iana::{OptRcode, Rtype};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::config::Config;
use crate::tests::answer::{self, Manner, packet, read};
use crate::tests::world::{World, address_of};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered_properly_or_not_at_all(bytes in vec(any::<u8>(), 0..600)) {
        crate::fuzz::packet(&bytes);
        crate::fuzz::forwarded(&bytes);
    }

    #[test]
    fn so_is_what_resembles_a_query(
        name in prop_oneof![
            Just("web.svc.internal"), Just("many.service.consul"), Just("_many._tcp.consul"), Just("node.node.consul"),
            Just("1.0.0.10.in-addr.arpa"), Just("svc.internal"), Just("db"), Just("."),
        ],
        rtype in prop_oneof![Just(1u16), Just(33), Just(16), Just(255), Just(6), Just(12), Just(41), any::<u16>()],
        edns in proptest::option::of(any::<u16>()),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
        tail in vec(any::<u8>(), 0..3),
    ) {
        let mut bytes = packet(name, Rtype::from_int(rtype), Manner { edns, tcp: false });
        bytes.extend(tail);
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        crate::fuzz::packet(&bytes);
    }
}

/// The code that a packet is refused with; `None` when nobody answers.
fn refusal(bytes: &[u8]) -> Option<OptRcode> {
    let world = World::new(Config::default());
    let from = address_of("remote");
    assert!(answer::fast(&world, bytes, from, 0).is_none(), "the fast path takes it");
    let answer = answer::slow(&world, bytes, from, 0, false).ok()?;
    let read = read(&answer);
    assert!(read.answers.is_empty());
    let high = read.opt.map_or(0, |(_, _, code)| code);
    Some(OptRcode::masked_from_int(high.max(u16::from(read.code.to_int()))))
}

fn with(base: &[u8], edits: &[(usize, u8)], tail: &[u8]) -> Vec<u8> {
    let mut bytes = [base, tail].concat();
    edits.iter().for_each(|(at, value)| bytes[*at] = *value);
    bytes
}

#[test]
fn each_fault_has_its_code() {
    let plain = packet("nothing.svc.internal", Rtype::A, Manner::default());
    let root_question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01";
    let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
    let newer_opt = b"\0\0\x29\x04\xd0\0\x01\0\0\0\0";
    let (formerr, refused) = (Some(OptRcode::FORMERR), Some(OptRcode::REFUSED));
    let end = plain.len();
    let cases: [(&str, Vec<u8>, Option<OptRcode>); 20] = [
        ("nothing", vec![], None),
        ("a scrap", plain[..11].to_vec(), None),
        ("an answer", with(&plain, &[(2, 0x81)], b""), None),
        ("half a question", plain[..20].to_vec(), formerr),
        ("no question", with(&plain[..12], &[(5, 0)], b""), formerr),
        ("two questions", with(&plain, &[(5, 2)], &plain[12..]), formerr),
        ("a pointer to itself", with(&plain[..12], &[], b"\xc0\x0c\0\x01\0\x01"), formerr),
        ("a pointer forward", with(&plain[..12], &[], b"\xc0\x20\0\x01\0\x01"), formerr),
        ("a reserved label", with(&plain[..12], &[], b"\x80\0\x01\0\x01"), formerr),
        ("a label that lies", with(&plain, &[(12, 63)], b""), formerr),
        ("a tail", with(&plain, &[], b"x"), formerr),
        ("records that are not there", with(&plain, &[(11, 1)], b""), formerr),
        ("two OPT", with(&plain, &[(11, 2)], &[&opt[..], opt].concat()), formerr),
        ("an OPT that lies", with(&plain, &[(11, 1), (end + 10, 9)], opt), formerr),
        ("an OPT with a name", with(&plain, &[(11, 1)], b"\x01a\0\x29\x04\xd0\0\0\0\0\0\0"), formerr),
        ("an answer record", with(&plain, &[(7, 1)], opt), formerr),
        ("too many records", with(&plain, &[(10, 0xff)], opt), formerr),
        ("a newer EDNS", with(&plain, &[(11, 1)], newer_opt), Some(OptRcode::BADVERS)),
        ("another opcode", with(&plain, &[(2, 0x28)], b""), Some(OptRcode::NOTIMP)),
        ("another class", with(root_question, &[(16, 3)], b""), refused),
    ];
    for (what, bytes, expected) in cases {
        assert_eq!(refusal(&bytes), expected, "{what}");
    }
}

#[test]
fn tcp_answers_end_at_64_kib_and_say_so() {
    let mut world = World::new(Config::default());
    world.run("node here 10.0.0.1");
    for number in 0..1500 {
        world.run(&format!("register many/{number}@here 10.1.{}.{}:80", number / 250, number % 250));
    }
    let packet = packet("many.service.consul", Rtype::SRV, Manner { edns: None, tcp: true });
    let answer = answer::slow(&world, &packet, address_of("remote"), 0, true).unwrap();
    assert!((65_000..=65_535).contains(&answer.len()), "{} bytes", answer.len());
    let answer = read(&answer);
    assert!(answer.truncated && answer.answers.len() > 1000, "{} records", answer.answers.len());
}

#[test]
fn every_endpoint_gets_its_turn() {
    let mut world = World::new(Config::default());
    world.run("node here 10.0.0.1");
    for number in 0..10 {
        let status = if number < 7 { "passing" } else { "warning" };
        world.run(&format!("register web/{number}@here 10.1.0.{number}:80 status={status}"));
    }
    let packet = packet("web.service.consul", Rtype::A, Manner::default());
    let mut firsts = std::collections::BTreeMap::new();
    for step in 0..1000u32 {
        let answer = answer::fast(&world, &packet, address_of("remote"), step * (u32::MAX / 1000)).unwrap();
        let answers = read(&answer).answers;
        assert_eq!(answers.len(), 10);
        *firsts.entry(answers[0].clone()).or_insert(0) += 1;
    }
    assert_eq!(firsts.len(), 10);
    assert!(firsts.values().all(|count| (90..=110).contains(count)), "{firsts:?}");
}
