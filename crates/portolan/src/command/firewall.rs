//! `portolan firewall confirm|try`: a firewall of this node's own (mode `own`) that is on trial.

use crate::cli::Global;
use crate::exit::Result;
use crate::remote::Remote;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Firewall {
    /// Let the firewall that is on trial stay: whoever says so still reaches this host
    Confirm,
    /// Make a firewall that nobody confirmed once more
    Try,
}

pub(crate) fn run(firewall: Firewall, global: &Global) -> Result {
    let (word, done) = match firewall {
        Firewall::Confirm => ("confirm", "the firewall stays"),
        Firewall::Try => {
            ("try", "the firewall is on trial; say `portolan firewall confirm` from a new session")
        }
    };
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let _: bool = remote.put(&format!("/v1/portolan/firewall/{word}"), &()).await?;
        Ok(global.out().say(done)?)
    })
}
