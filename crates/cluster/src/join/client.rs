//! The side that asks.

use std::path::Path;

use bytes::Bytes;
use catalog::{KeyHash, Role};

use crate::ca::{Authority, lapse};
use crate::disk;
use crate::error::Error;
use crate::identity::{Facts, Identity, disk_number, exists};
use crate::init::refuse_second;
use crate::join::Door;
use crate::join::wire::{self, Ask, Join, Renew, Reply, Request, Welcome};
use crate::keys::{Key, hash_of_certificate};
use crate::token::{JoinToken, TokenError};

const JOIN: &str = "join the cluster";
const RENEW: &str = "renew this node's certificate";

/// What `join` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// This node's name.
    pub name: String,
    /// Where others reach its mesh, `host:port`, the best first.
    pub addresses: Vec<String>,
    /// The role to join as; the token's where it is none.
    pub role: Option<Role>,
    /// Who carries the order as this node is configured, in the word that the servers use; empty to leave it open.
    pub order: String,
}

/// Joins a cluster: asks the token's servers one after another, and writes the identity into the data
/// directory. Returns it and by how much the servers' clock is ahead of this host's, in milliseconds.
///
/// # Errors
/// [`Error::Token`], [`Error::Belongs`], [`Error::Refused`] with the cluster's reason, [`Error::Unreachable`].
/// May be tried again: the keys are kept.
pub async fn join(
    data: &Path,
    token: &JoinToken,
    options: &Options,
    door: &dyn Door,
    now_ms: u64,
) -> Result<(Identity, i64), Error> {
    refuse_other(data, token)?;
    token.check_time(now_ms)?;
    catalog::validate::node_name(&options.name)?;
    let role = options.role.unwrap_or(token.role);
    let mut identity = pending(data, token, options, role)?;
    let issuer = match role {
        Role::Server => Some(kept_key(&identity.home().join("issuer.key"))?),
        Role::Agent => None,
    };
    let ask = Ask::Join(Join {
        secret: token.secret.clone(),
        name: options.name.clone(),
        role,
        disk: identity.facts.disk,
        addresses: options.addresses.clone(),
        features: crate::init::features(),
        issuer: issuer.as_ref().map(|key| Bytes::copy_from_slice(key.public().as_bytes())),
        order: options.order.clone(),
    });
    let request = Request::sign(&ask, &identity.key)?;
    let welcome = ask_each(JOIN, door, &token.addresses, &[token.root], &request).await?;
    if welcome.cluster != token.cluster {
        let (wanted, known) = (token.cluster.clone(), welcome.cluster);
        return Err(TokenError::OtherCluster { wanted, known }.into());
    }
    let ahead = ahead_ms(welcome.now_ms, now_ms);
    take(&mut identity, welcome, issuer, JOIN)?;
    identity.save()?;
    Ok((identity, ahead))
}

/// Renews this node's certificate, and on a server its issuer where `with_issuer` says so, by asking servers.
/// Returns by how much their clock is ahead of this host's, in milliseconds. The files are written.
///
/// # Errors
/// [`Error::Refused`], [`Error::Unreachable`].
pub async fn renew(
    identity: &mut Identity,
    addresses: &[String],
    door: &dyn Door,
    with_issuer: bool,
    now_ms: u64,
) -> Result<i64, Error> {
    let issuer = match with_issuer {
        true => Some(Key::generate()?),
        false => None,
    };
    let ask = Ask::Renew(Renew {
        name: identity.facts.node.clone(),
        chain: identity.chain.iter().map(|der| Bytes::copy_from_slice(der)).collect(),
        issuer: issuer.as_ref().map(|key| Bytes::copy_from_slice(key.public().as_bytes())),
    });
    let request = Request::sign(&ask, &identity.key)?;
    let roots: Result<Vec<_>, _> = identity.roots.iter().map(|der| hash_of_certificate(der)).collect();
    let welcome = ask_each(RENEW, door, addresses, &roots?, &request).await?;
    let ahead = ahead_ms(welcome.now_ms, now_ms);
    take(identity, welcome, issuer, RENEW)?;
    identity.save()?;
    Ok(ahead)
}

fn ahead_ms(theirs: u64, ours: u64) -> i64 {
    i64::try_from(theirs).unwrap_or(i64::MAX).saturating_sub(i64::try_from(ours).unwrap_or(i64::MAX))
}

fn refuse_other(data: &Path, token: &JoinToken) -> Result<(), Error> {
    if !exists(data) {
        return Ok(());
    }
    let known = Identity::load(data)?.facts.cluster;
    if known != token.cluster {
        return Err(TokenError::OtherCluster { wanted: token.cluster.clone(), known }.into());
    }
    refuse_second(data)
}

/// A key from a file, made there if it is missing: the next try must bring the same.
fn kept_key(path: &Path) -> Result<Key, Error> {
    if let Some(text) = disk::read(path)? {
        return Key::from_pem(&text);
    }
    let key = Key::generate()?;
    disk::write_private(path, key.to_pem().as_bytes())?;
    Ok(key)
}

fn pending(data: &Path, token: &JoinToken, options: &Options, role: Role) -> Result<Identity, Error> {
    let home = data.join("cluster");
    disk::make_directory(data)?;
    disk::make_directory(&home)?;
    let key = kept_key(&home.join("node.key"))?;
    let facts = Facts {
        version: 1,
        cluster: token.cluster.clone(),
        node: options.name.clone(),
        role,
        server_id: 0,
        disk: disk_number(&key),
        addresses: options.addresses.clone(),
        validity: Default::default(),
        issuer_validity: Default::default(),
        operator: None,
        servers: Default::default(),
    };
    Ok(Identity::new(data, facts, key))
}

async fn ask_each(
    attempted: &'static str,
    door: &dyn Door,
    addresses: &[String],
    roots: &[KeyHash],
    request: &Bytes,
) -> Result<Welcome, Error> {
    let mut reasons = Vec::new();
    let mut refusal = None;
    for address in addresses {
        let reply = match door.call(address, roots, request.clone()).await {
            Ok(bytes) => wire::decode::<Reply>("read a server's reply", &bytes),
            Err(reason) => {
                reasons.push(format!("{address}: {reason}"));
                continue;
            }
        };
        match reply {
            Ok(Reply::Welcome(welcome)) => return Ok(*welcome),
            Ok(Reply::Refused { reason, try_others: false }) => {
                return Err(Error::Refused { attempted, reason });
            }
            Ok(Reply::Refused { reason, try_others: true }) => refusal = Some(reason),
            Err(cause) => reasons.push(format!("{address}: {cause}")),
        }
    }
    match refusal {
        Some(reason) => Err(Error::Refused { attempted, reason }),
        None => Err(Error::Unreachable { attempted, reasons: reasons.join("; ") }),
    }
}

/// Takes what a server said, if it fits: nothing is changed otherwise.
fn take(
    identity: &mut Identity,
    welcome: Welcome,
    issuer: Option<Key>,
    attempted: &'static str,
) -> Result<(), Error> {
    let refuse = |reason: &str| Error::Protocol { attempted, reason: reason.into() };
    let plain = |chain: Vec<Bytes>| chain.into_iter().map(|der| der.to_vec()).collect::<Vec<_>>();
    let (chain, roots) = (plain(welcome.chain), plain(welcome.roots));
    let shown = lapse(&chain, &roots, welcome.now_ms)?;
    if shown.key != identity.key.hash() || shown.ago_ms > 0 {
        return Err(refuse("the certificate that came back is for another key, or has run out"));
    }
    let authority = match (issuer, welcome.issuer) {
        (Some(key), Some(path)) => Some(Authority::from_parts(&identity.facts.cluster, key, plain(path))?),
        (Some(_), None) => return Err(refuse("no issuer came back, and a server needs one")),
        (None, _) => None,
    };
    (identity.chain, identity.roots) = (chain, roots);
    let facts = &mut identity.facts;
    (facts.role, facts.server_id, facts.validity) = (welcome.role, welcome.server_id, welcome.validity);
    facts.servers = welcome.servers.into_iter().collect();
    if let Some(authority) = authority {
        facts.issuer_validity = welcome.issuer_validity;
        identity.authority = Some(authority);
    }
    if let Some(pem) = welcome.root_key.filter(|_| identity.facts.role == Role::Server) {
        identity.keep_root_key(&pem)?;
    }
    Ok(())
}
