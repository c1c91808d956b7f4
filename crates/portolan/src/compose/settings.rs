//! What the whole registry has agreed on, and what this node's configuration says about it.

use anyhow::Context as _;
use catalog::{Command, Settings};
use store::Store;

/// Makes the configured range of virtual addresses hold. An empty registry gets a command that changes nothing:
/// Consul's clients take an index of 1 for "not ready yet", and so this node's own entry comes second.
///
/// # Errors
/// The registry takes no commands.
pub(super) async fn agree(store: &Store, hostnet: &hostnet::Config) -> anyhow::Result<()> {
    if store.now().index() == 0 {
        store.submit(Command::Batch(Vec::new())).await.context("begin the registry")?;
    }
    let Some(range) = hostnet.range else { return Ok(()) };
    if store.now().settings().virtual_ips == range.0 {
        return Ok(());
    }
    // All settings are one value: it must be the newest, or what others agreed on meanwhile would be undone.
    let newest = store.barrier().await.context("ask for the settings of the registry")?;
    let settings = Settings { virtual_ips: range.0, ..newest.settings().clone() };
    store.submit(Command::Configure(settings)).await.context("agree on the range of virtual addresses")?;
    Ok(())
}
