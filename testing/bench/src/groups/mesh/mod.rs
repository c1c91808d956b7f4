//! The mesh: its streams beside the QUIC library, and commits beside bulk on it.

mod loaded;
mod streams;

use anyhow::Result;

use crate::harness::Context;
use crate::harness::cores::Cores;
use crate::report::Section;

pub(super) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let mut rows = streams::run(context, cores)?;
    rows.extend(loaded::run(context, cores)?);
    Ok(Section {
        group: "mesh",
        title: "The mesh",
        how: "Streams: one process with both ends of a link, by the example `beside_quinn` of `crates/mesh`, on all \
              processors. Commits beside bulk: three servers on one processor, streams by `quic://` URIs from every \
              server to every other, and three clients, one at each, that write values of 200 bytes."
            .to_owned(),
        rows,
        facts: Vec::new(),
    })
}
