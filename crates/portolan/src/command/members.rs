//! `portolan members`: who was admitted to the cluster.

use consul::own::Member;
use serde::Serialize;

use crate::cli::Global;
use crate::exit::Result;
use crate::output::Row;
use crate::remote::Remote;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(Member);

impl Row for Shown {
    const COLUMNS: &'static [&'static str] = &["node", "role", "status", "mesh", "key"];
    fn cells(&self) -> Vec<String> {
        let member = &self.0;
        let role = match (member.leads, member.votes) {
            (true, _) => format!("{} (leads)", member.role),
            (false, true) => format!("{} (votes)", member.role),
            (false, false) => member.role.to_string(),
        };
        let key = member.key.chars().take(16).collect();
        vec![member.name.to_string(), role, member.status.to_string(), member.addresses.join(", "), key]
    }
}

pub(crate) fn run(Args {}: Args, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let members = remote.get::<Vec<Member>>("/v1/portolan/members").await?.value;
        if members.is_empty() {
            global.out().say("this node is alone: `portolan init` makes it the first of a cluster")?;
            if global.output == crate::output::Format::Table {
                return Ok(());
            }
        }
        Ok(global.out().list(&members.into_iter().map(Shown).collect::<Vec<_>>())?)
    })
}
