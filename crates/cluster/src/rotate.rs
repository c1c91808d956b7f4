//! One root followed by another, while both are trusted.
//!
//! The new root is announced and trusted, certified by the old one too; a little later it signs, and every
//! server gets an issuer of it; the old one is trusted for as long as a node that was away may still renew, and
//! is dropped then. [`begin`] is an operator's wish; the rest happens by itself in
//! [`Renewer`](crate::renew::Renewer).

use std::path::PathBuf;

use catalog::{ClusterCommand, Command, KeyHash, RootState, Snapshot};
use store::Store;

use crate::ca::{RENEWAL_MS, Root};
use crate::disk;
use crate::error::Error;
use crate::identity::Identity;
use crate::keys::Key;
use crate::local::Local;
use crate::time::SECOND_MS;

const ROTATE: &str = "rotate the root";
/// Between trusting a root and signing with it: nodes that live have heard of it long before.
pub const ANNOUNCED_MS: u64 = 60 * SECOND_MS;

fn next_key(identity: &Identity) -> PathBuf {
    identity.home().join("ca.next.key")
}

/// Makes a new root and announces it. Needs the key of the root that signs now.
///
/// # Errors
/// [`Error::NoRootKey`]; [`Error::Refused`] while another rotation is under way; what the order says.
pub async fn begin(local: &Local, store: &Store, now_ms: u64) -> Result<KeyHash, Error> {
    if store.now().cluster().roots().any(|root| root.state == RootState::Next) {
        let reason = "another root was announced a moment ago and does not sign yet; try again in a minute";
        return Err(Error::Refused { attempted: ROTATE, reason: reason.into() });
    }
    let (key, command) = local.with(|identity| {
        let old = identity.root(ROTATE)?;
        let next = Root::generate(&identity.facts.cluster, now_ms)?;
        let cross = Some(old.cross_sign(&next, now_ms)?.into());
        // On disk before anybody trusts it: a root without a key would sign nothing.
        disk::write_private(&next_key(identity), next.key().to_pem().as_bytes())?;
        let (key, certificate) = (next.key().hash(), next.certificate().to_vec().into());
        Ok::<_, Error>((key, ClusterCommand::AddRoot { key, certificate, cross }))
    })?;
    submit(store, command).await?;
    local.follow(&store.now())?;
    Ok(key)
}

/// What is due in a rotation by the catalog and this host's files.
fn due(identity: &Identity, snapshot: &Snapshot, now_ms: u64) -> Result<Vec<ClusterCommand>, Error> {
    let mut commands = Vec::new();
    let held = match disk::read(&next_key(identity))? {
        Some(pem) => Some(Key::from_pem(&pem)?.hash()),
        None => None,
    };
    for root in snapshot.cluster().roots() {
        let age = now_ms.saturating_sub(root.since_ms);
        match root.state {
            RootState::Next if held == Some(root.key) && age >= ANNOUNCED_MS => {
                commands.push(ClusterCommand::PromoteRoot { key: root.key });
            }
            RootState::Retiring if age >= RENEWAL_MS => {
                commands.push(ClusterCommand::DropRoot { key: root.key });
            }
            _ => {}
        }
    }
    Ok(commands)
}

/// Goes one step further where it is time for one. Only servers have a part in it.
pub(crate) async fn step(local: &Local, store: &Store, now_ms: u64) -> Result<(), Error> {
    let view = store.now();
    if local.with(|identity| identity.authority.is_none()) {
        return Ok(());
    }
    let commands = local.with(|identity| due(identity, &view, now_ms))?;
    for command in commands {
        tracing::info!(?command, "the root's rotation goes on");
        submit(store, command).await?;
        local.follow(&store.now())?;
    }
    let view = store.now();
    local.with(|identity| settle(identity, view.cluster().active_root().map(|root| root.key)))
}

/// The key of the root that signs has its usual name.
fn settle(identity: &Identity, active: Option<KeyHash>) -> Result<(), Error> {
    let path = next_key(identity);
    let Some(pem) = disk::read(&path)? else { return Ok(()) };
    if Some(Key::from_pem(&pem)?.hash()) == active {
        identity.keep_root_key(&pem)?;
        disk::remove(&path)?;
    }
    Ok(())
}

async fn submit(store: &Store, command: ClusterCommand) -> Result<(), Error> {
    let submitted = store.submit(Command::Cluster(command)).await;
    submitted.map(drop).map_err(|cause| Error::Submit { attempted: ROTATE, cause })
}
