//! Asking both paths, and reading what they say with a parser that neither of them uses to write.

use std::net::IpAddr;

use domain::base::iana::{Rcode, Rtype};
use domain::base::message_builder::OptBuilder;
use domain::base::{Message, MessageBuilder, Name};
use domain::rdata::AllRecordData;

use crate::fast::{self, Outcome};
use crate::lookup::WhenClosed;
use crate::slow::{self, Query, Transport, Verdict};
use crate::tests::world::World;

/// What a client reads out of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: Rcode,
    pub(crate) truncated: bool,
    pub(crate) authoritative: bool,
    pub(crate) question: String,
    /// Records in the order given, as `owner ttl type data`.
    pub(crate) answers: Vec<String>,
    pub(crate) authorities: Vec<String>,
    pub(crate) additionals: Vec<String>,
    pub(crate) opt: Option<(u16, bool, u16)>,
}

/// How to ask.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manner {
    /// Size in the OPT record.
    pub(crate) edns: Option<u16>,
    pub(crate) tcp: bool,
}

pub(crate) fn packet(name: &str, qtype: Rtype, manner: Manner) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec().question();
    builder.header_mut().set_id(0x1234);
    builder.header_mut().set_rd(true);
    builder.push((Name::vec_from_str(name).unwrap(), qtype)).unwrap();
    let mut builder = builder.additional();
    if let Some(size) = manner.edns {
        let opt = |opt: &mut OptBuilder<'_, Vec<u8>>| {
            opt.set_udp_payload_size(size);
            opt.set_dnssec_ok(size % 2 == 1);
            Ok(())
        };
        builder.opt(opt).unwrap();
    }
    builder.finish()
}

/// What the fast path says, if it takes the packet.
pub(crate) fn fast(world: &World, packet: &[u8], from: IpAddr, turn: u32) -> Option<Vec<u8>> {
    let mut out = [0xaa; 4096];
    match fast::answer(&world.responder, &world.zone, packet, from, turn, &mut out) {
        Outcome::Answered { length, .. } => Some(out[..length].to_vec()),
        Outcome::Slow | Outcome::Drop => None,
    }
}

/// What the slow path says.
pub(crate) fn slow(
    world: &World,
    packet: &[u8],
    from: IpAddr,
    turn: u32,
    tcp: bool,
) -> Result<Vec<u8>, Verdict> {
    let transport = if tcp { Transport::Tcp } else { Transport::Udp };
    let (when_closed, now) = (WhenClosed::Open, crate::guard::Now::read());
    let query = Query { packet, transport, from, when_closed, now };
    match slow::answer(&world.responder, &world.zone, query, turn) {
        Verdict::Reply { bytes, .. } => Ok(bytes),
        other => Err(other),
    }
}

pub(crate) fn read(bytes: &[u8]) -> Answer {
    let message = Message::from_octets(bytes).unwrap();
    let header = message.header();
    assert!(header.qr());
    let question = message.first_question().map(|question| question.to_string()).unwrap_or_default();
    let records = |section: domain::base::message::RecordSection<'_, [u8]>| -> Vec<String> {
        let records = section.limit_to::<AllRecordData<_, _>>().map(|record| record.unwrap());
        let records = records.filter(|record| record.rtype() != Rtype::OPT);
        records
            .map(|r| format!("{} {} {} {}", r.owner(), r.ttl().as_secs(), r.rtype(), r.data()))
            .map(|line| line.to_ascii_lowercase())
            .collect()
    };
    let message = Message::from_slice(bytes).unwrap();
    let opt = message.opt().map(|opt| (opt.udp_payload_size(), opt.dnssec_ok(), opt.rcode(header).to_int()));
    Answer {
        code: header.rcode(),
        truncated: header.tc(),
        authoritative: header.aa(),
        question,
        answers: records(message.answer().unwrap()),
        authorities: records(message.authority().unwrap()),
        additionals: records(message.additional().unwrap()),
        opt,
    }
}

impl Answer {
    /// True when both paths say the same. The fast one may fit in more additional records, because it
    /// points to names where the library writes them out; what does not fit there, nobody misses.
    pub(crate) fn agrees_with_slow(&self, slow: &Answer) -> bool {
        let fits = self.additionals.starts_with(&slow.additionals);
        let complete = Answer { additionals: slow.additionals.clone(), ..self.clone() };
        fits && complete == *slow
    }

    /// In one line: records without owners, sorted, because every answer starts at another one.
    pub(crate) fn summary(&self) -> String {
        let short = |lines: &[String], skip: usize| {
            let mut short: Vec<_> =
                lines.iter().map(|line| line.splitn(skip + 1, ' ').last().unwrap_or("").to_owned()).collect();
            short.sort();
            short.join(", ")
        };
        let mut text = match (self.code, self.answers.is_empty(), &self.authorities[..]) {
            (Rcode::NOERROR, false, _) => short(&self.answers, 1),
            (Rcode::NOERROR, true, _) if self.truncated => "nothing".to_owned(),
            (code, _, [soa, ..]) => {
                let mut words = soa.split(' ');
                let (owner, ttl) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
                let code = if code == Rcode::NOERROR { "NODATA".to_owned() } else { code.to_string() };
                format!("{code} {owner} {ttl}")
            }
            (code, ..) => code.to_string(),
        };
        if !self.additionals.is_empty() {
            text = format!("{text} + {}", short(&self.additionals, 0));
        }
        if self.truncated { format!("{text} (truncated)") } else { text }
    }
}
