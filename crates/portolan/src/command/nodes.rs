//! `portolan nodes`

use consul::listing::Node;
use serde::Serialize;

use super::listing::{self, Watch};
use crate::cli::Global;
use crate::exit::Result;
use crate::output::Row;
use crate::remote::Remote;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    watch: Watch,
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(listing::show(&remote, global, "/v1/catalog/nodes", args.watch, |nodes: Vec<Node>| {
        nodes.into_iter().map(Host).collect()
    }))
}

#[derive(Serialize)]
#[serde(transparent)]
struct Host(Node);

impl Row for Host {
    const COLUMNS: &'static [&'static str] = &["node", "address", "id"];
    fn cells(&self) -> Vec<String> {
        vec![self.0.node.to_string(), self.0.address.to_string(), self.0.id.to_string()]
    }
}
