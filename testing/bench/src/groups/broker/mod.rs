//! The broker: connections that were handed over, lookups, rules, and what has to be pumped beside those who pump the same.

mod bridges;
mod handover;
mod lookups;
mod rules;
mod secured;

use anyhow::Result;

use crate::harness::Context;
use crate::harness::cores::Cores;
use crate::load::streams::Backends;
use crate::report::Section;
use crate::subject::{bridge, relay};

pub(crate) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let backends = Backends::start()?;
    let mut rows = handover::rows(context, cores, &backends)?;
    rows.extend(lookups::rows(context, cores)?);
    rows.extend(rules::rows(context, cores)?);
    rows.extend(secured::rows(context, cores, &backends)?);
    rows.extend(bridges::rows(context, cores, &backends)?);
    Ok(Section {
        group: "broker",
        title: "The broker",
        how: format!(
            "Handed over: one connection that the broker made and one that the program made itself, to the same \
             server, taking turns every tenth of the time; {} Lookups: {} programs ask for one connection after \
             another, with {} rules before the one that lets them. Rules: by the example `judge` of `crates/broker`. \
             TLS 1.3 (TLS_AES_256_GCM_SHA384): one connection with writes of 256 KiB, given to the broker's `tls` \
             route through a socket pair and to HAProxy (`server … ssl`) through loopback; both speak TLS with the \
             same server. WebSocket: messages of 64 KiB into a server that throws everything away, and 64 bytes \
             there and back on {} connections. CPU is that of the daemon, or of the peer with its children.",
            handover::HOW,
            lookups::PROGRAMS,
            lookups::RULES,
            bridges::PINGS,
        ),
        rows,
        facts: vec![format!(
            "Beside it: {}, {}, {}; on one processor each.",
            relay::Kind::Haproxy.version()?,
            bridge::Kind::V2ray.version()?,
            bridge::Kind::Websockify.version()?
        )],
    })
}
