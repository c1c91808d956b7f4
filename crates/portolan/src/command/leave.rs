//! `portolan leave` and `portolan remove NODE`: out of the cluster for good.

use serde_json::Value;

use crate::cli::Global;
use crate::exit::Result;
use crate::remote::{Remote, encoded};

#[derive(Debug, clap::Args)]
pub(crate) struct Leave {}

#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Name, as `portolan members` shows it
    node: String,
}

pub(crate) fn leave(Leave {}: Leave, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let _: Value = remote.put("/v1/portolan/leave", &()).await?;
        Ok(global.out().say("this node left the cluster, and its daemon ends")?)
    })
}

pub(crate) fn remove(args: Remove, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let _: Value = remote.put(&format!("/v1/portolan/remove/{}", encoded(&args.node)), &()).await?;
        Ok(global.out().say(&format!("removed {}: it is believed no more", args.node))?)
    })
}
