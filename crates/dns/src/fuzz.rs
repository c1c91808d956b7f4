//! Foreign bytes through both paths, for fuzzing: they may be refused, and nothing may panic or break a
//! promise of the wire.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use catalog::{
    Catalog, Command, Envelope, InstanceDef, InstanceRegistration, NodeDef, NodeRegistration, Register,
};
use domain::base::iana::Rtype;
use domain::base::{Message, ParsedName};
use domain::rdata::AllRecordData;
use route::Facts;

use crate::config::Config;
use crate::fast::{self, Outcome};
use crate::guard::Now;
use crate::lookup::WhenClosed;
use crate::plan::Plan;
use crate::responder::Responder;
use crate::slow::{self, Query, Transport, Verdict};
use crate::wire::HEADER;
use crate::zone::Zone;

/// One packet, by UDP and by TCP, to a zone with a few services in it.
pub fn packet(bytes: &[u8]) {
    let Some((responder, zone)) = world() else { return };
    let (from, now) = (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), Now::read());
    let mut out = [0; 4096];
    let turn = (bytes.len() as u32).wrapping_mul(0x1234_5678);
    let fast = match fast::answer(responder, zone, bytes, from, turn, &mut out) {
        Outcome::Answered { length, .. } => Some(&out[..length]),
        Outcome::Slow | Outcome::Drop => None,
    };
    fast.into_iter().for_each(|answer| is_proper(bytes, answer));
    for (transport, limit) in [(Transport::Udp, usize::from(responder.max_udp)), (Transport::Tcp, 65_535)] {
        let query = Query { packet: bytes, transport, from, when_closed: WhenClosed::Open, now };
        match slow::answer(responder, zone, query, turn) {
            Verdict::Reply { bytes: answer, .. } => {
                assert!(answer.len() <= limit, "an answer of {} bytes", answer.len());
                is_proper(bytes, &answer);
                if let (Transport::Udp, Some(fast)) = (transport, fast) {
                    assert_eq!(fast[2..8], answer[2..8], "flags, questions and answers of both paths");
                }
            }
            Verdict::Drop | Verdict::Open { .. } | Verdict::Forward => {}
        }
    }
}

/// Another server's answer to the first bytes, as the forwarder reads it.
pub fn forwarded(bytes: &[u8]) {
    let (query, answer) = bytes.split_at(bytes.len() / 2);
    crate::forward::fuzz(query, answer);
    crate::forward::fuzz(query, bytes);
}

/// An answer is a response with the query's id that a parser reads to its end, and no longer than the
/// client of a plain query takes.
fn is_proper(query: &[u8], answer: &[u8]) {
    assert!(query.len() >= HEADER && answer.len() >= HEADER);
    assert_eq!(query[..2], answer[..2], "id");
    assert!(answer[2] & 0x80 != 0, "response");
    assert!(reads_to_its_end(answer).is_some(), "an answer does not parse: {answer:02x?}");
}

fn reads_to_its_end(answer: &[u8]) -> Option<()> {
    let message = Message::from_octets(answer).ok()?;
    for record in message.iter() {
        let (record, _) = record.ok()?;
        if record.rtype() != Rtype::OPT {
            record.to_any_record::<AllRecordData<_, ParsedName<_>>>().ok()?;
        }
    }
    let mut additional = message.additional().ok()?;
    (additional.by_ref().all(|record| record.is_ok()) && additional.pos() == answer.len()).then_some(())
}

fn world() -> Option<&'static (Responder, Zone)> {
    static WORLD: OnceLock<Option<(Responder, Zone)>> = OnceLock::new();
    let build = || {
        let config = Config::default();
        let responder = Responder::new(&config, "node", "dc1").ok()?;
        let mut catalog = Catalog::default();
        let commands = [("web", "", 80), ("web", "fd00::1", 81), ("db", "db.example.org", 5432)];
        let few = commands.map(|(service, address, port)| (service, address.to_owned(), port));
        let many = (0..200).map(|number| ("many", format!("10.1.0.{number}"), 80));
        for (index, (service, address, port)) in (1..).zip(few.into_iter().chain(many)) {
            let command = register(service, &format!("{service}-{index}"), &address, port);
            let envelope = Envelope { node: "node".into(), epoch: 1, sequence: index, time_ms: 1, command };
            catalog.apply(index, &envelope);
        }
        Some((responder, Plan::new(&config).project(&catalog.snapshot(), &Facts::default())))
    };
    WORLD.get_or_init(build).as_ref()
}

fn register(service: &str, id: &str, address: &str, port: u16) -> Command {
    let node = NodeDef { meta: [("rack", "r1")].into(), ..NodeDef::new("node".into(), "10.0.0.1".into()) };
    let def = InstanceDef {
        tags: vec!["v1".into()],
        address: address.into(),
        meta: [("long", "x".repeat(600))].into_iter().map(|(k, v)| (Arc::from(k), Arc::from(&*v))).collect(),
        ..InstanceDef::new(id.into(), service.into(), port)
    };
    Command::Register(Box::new(Register {
        node: Some(NodeRegistration { def: node, only_if_absent: true }),
        on: "node".into(),
        instance: Some(InstanceRegistration { def, replace_checks: true }),
        checks: Vec::new(),
    }))
}
