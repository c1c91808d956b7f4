//! Sections to bytes.

use domain::base::iana::OptRcode;
use domain::base::message_builder::{AnswerBuilder, TreeCompressor};
use domain::base::{MessageBuilder, Ttl};
use domain::dep::octseq::OctetsBuilder;

use crate::guard::cookie::{self, OPTION_LENGTH};
use crate::responder::Responder;
use crate::slow::records::{Record, Sections};
use crate::slow::request::Request;
use crate::slow::{Envelope, Verdict};
use crate::wire::OPT_LENGTH;

type Builder = TreeCompressor<Vec<u8>>;

/// The library refuses what would end exactly at its limit.
const LIMIT_IS_EXCLUSIVE: usize = 1;

/// Writes an answer. What does not fit of the answer section is left out, and the
/// answer says so; what does not fit behind it is left out silently (RFC 2181 section 9).
pub(crate) fn compose(
    responder: &Responder,
    request: &Request<'_>,
    sections: &Sections,
    envelope: Envelope,
) -> Verdict {
    let Envelope { limit, serial, recursion, cookie, slips } = envelope;
    let code = sections.code;
    let option = cookie.map_or(0, |_| OPTION_LENGTH);
    let reserve = if request.edns.is_some() { OPT_LENGTH + option } else { 0 };
    let Some(mut answer) = start(request, code, limit - reserve) else { return Verdict::Drop };
    let fits = sections.answers.iter().all(|record| answer.push(parts(record)).is_ok());
    // With a cookie to come back with, nothing was left out.
    let truncated = !fits || slips && cookie.is_none();
    let header = answer.header_mut();
    header.set_aa(sections.is_ours);
    header.set_tc(truncated);
    header.set_ra(recursion);
    let mut authority = answer.authority();
    if let Some(soa) = sections.negative.as_ref().filter(|_| !truncated) {
        // Refused only if it does not fit: then there is none.
        let _ = authority.push(parts(&soa.record(responder, serial)));
    }
    let mut additional = authority.additional();
    if !truncated {
        let _ = sections.additionals.iter().try_for_each(|record| additional.push(parts(record)));
    }
    if let Some(edns) = request.edns {
        additional.set_push_limit(limit + LIMIT_IS_EXCLUSIVE);
        let result = additional.opt(|opt| {
            opt.set_udp_payload_size(responder.max_udp);
            opt.set_rcode(code);
            opt.set_dnssec_ok(edns.dnssec_ok);
            cookie.map_or(Ok(()), |served| {
                opt.push_raw_option(cookie::OPTION.into(), served.bytes.len() as u16, |target| {
                    target.append_slice(&served.bytes)
                })
            })
        });
        if result.is_err() {
            return Verdict::Drop;
        }
    }
    let bytes = additional.finish().into_target();
    Verdict::Reply { bytes, code: code.to_int(), truncated }
}

/// Header and question. `None` when not even those fit.
fn start(request: &Request<'_>, code: OptRcode, limit: usize) -> Option<AnswerBuilder<Builder>> {
    let mut builder = MessageBuilder::from_target(TreeCompressor::new(Vec::with_capacity(512))).ok()?;
    builder.set_push_limit(limit + LIMIT_IS_EXCLUSIVE);
    if request.has_question {
        return builder.start_answer(&request.message, code.rcode()).ok();
    }
    let asked = request.message.header();
    let header = builder.header_mut();
    header.set_id(asked.id());
    header.set_qr(true);
    header.set_opcode(asked.opcode());
    header.set_rd(asked.rd());
    header.set_rcode(code.rcode());
    Some(builder.answer())
}

fn parts(record: &Record) -> (&crate::slow::records::Owned, Ttl, &crate::slow::records::Data) {
    (&record.owner, Ttl::from_secs(record.ttl), &record.data)
}
