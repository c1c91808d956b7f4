//! The first host of a cluster.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalog::members::FEATURES;
use catalog::{Candidate, ClusterCommand, Command, Founding, Issuer, KeyHash, Role};

use crate::ca::{Authority, ISSUER_MS, LEAF_MS, Root, Validity};
use crate::disk;
use crate::error::Error;
use crate::identity::{Facts, Identity, disk_number, exists};
use crate::keys::{Key, random};
use crate::token;

/// What `init` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// This node's name.
    pub name: String,
    /// Where others reach its mesh, `host:port`, the best first.
    pub addresses: Vec<String>,
}

/// What `init` made.
#[derive(Debug)]
pub struct Begun {
    /// Who this node is now.
    pub identity: Identity,
    /// File with the operator's token, mode 0600.
    pub operator_token: PathBuf,
}

/// Makes the authority, this node's key and certificate and the operator's token, all in the data directory.
/// The cluster begins when [`founding`] is applied. Nothing secret is returned.
///
/// # Errors
/// [`Error::Belongs`] where there is an identity already; names and addresses that are none; what the disk
/// says. What was written before a failure is overwritten by the next try.
pub fn init(data: &Path, options: &Options, now_ms: u64) -> Result<Begun, Error> {
    refuse_second(data)?;
    catalog::validate::node_name(&options.name)?;
    let addresses: Vec<Arc<str>> = options.addresses.iter().map(|text| text.as_str().into()).collect();
    catalog::validate::mesh_addresses(&addresses)?;
    let id = u64::from_be_bytes(random()?);
    let cluster = format!("{id:016x}");
    let root = Root::generate(&cluster, now_ms)?;
    let (text, operator) = token::operator()?;
    let key = Key::generate()?;
    let facts = Facts {
        version: 1,
        cluster: cluster.clone(),
        node: options.name.clone(),
        role: Role::Server,
        server_id: 1,
        disk: disk_number(&key),
        addresses: options.addresses.clone(),
        validity: Validity::from_now(now_ms, LEAF_MS),
        issuer_validity: Validity::from_now(now_ms, ISSUER_MS),
        operator: Some(operator.to_string()),
        servers: Default::default(),
    };
    let mut identity = Identity::new(data, facts, key);
    let issuer = Key::generate()?;
    let certificate = root.sign_issuer(&issuer.public(), now_ms)?;
    let authority = Authority::from_parts(&cluster, issuer, vec![certificate])?;
    let validity = identity.facts.validity;
    identity.chain = authority.sign_node(&options.name, &identity.key.public(), validity)?;
    identity.roots = vec![root.certificate().to_vec()];
    identity.authority = Some(authority);
    identity.keep_root_key(&root.key().to_pem())?;
    let operator_token = identity.home().join("operator.token");
    disk::write_private(&operator_token, format!("{text}\n").as_bytes())?;
    identity.save()?;
    Ok(Begun { identity, operator_token })
}

pub(crate) fn refuse_second(data: &Path) -> Result<(), Error> {
    if !exists(data) {
        return Ok(());
    }
    let known = Identity::load(data)?.facts;
    Err(Error::Belongs { path: data.into(), node: known.node, cluster: known.cluster })
}

/// The command with which a founder begins its cluster; none on a node that joined. Submit it at every start:
/// it applies once.
///
/// # Errors
/// The files do not fit together.
pub fn founding(identity: &Identity) -> Result<Option<Command>, Error> {
    let facts = &identity.facts;
    let Some(operator) = facts.operator.as_deref().and_then(KeyHash::parse) else { return Ok(None) };
    let authority = identity.authority("begin the cluster")?;
    let root = identity.roots.first().cloned().unwrap_or_default();
    let root_key = identity.root_hash()?;
    let issuer = Issuer {
        node: facts.node.as_str().into(),
        key: authority.hash(),
        root: root_key,
        certificate: authority.certificate().to_vec().into(),
    };
    let founder = candidate(identity);
    let founding = Founding {
        cluster: facts.cluster.as_str().into(),
        founder,
        root: (root_key, root.into()),
        issuer,
        operator,
    };
    Ok(Some(Command::Cluster(ClusterCommand::Found(Box::new(founding)))))
}

/// This node as it wishes to be known.
pub(crate) fn candidate(identity: &Identity) -> Candidate {
    let facts = &identity.facts;
    Candidate {
        name: facts.node.as_str().into(),
        role: facts.role,
        disk: facts.disk,
        addresses: facts.addresses.iter().map(|text| text.as_str().into()).collect(),
        key: identity.key.hash(),
        features: features(),
    }
}

/// The level of commands that this node says it understands. Two builds of one tree differ in nothing, so one for tests
/// can say that it is an older one: by `PORTOLAN_TEST_FEATURES`, which no release looks at.
pub(crate) fn features() -> u32 {
    let older = std::env::var("PORTOLAN_TEST_FEATURES").ok().filter(|_| cfg!(debug_assertions));
    older.and_then(|level| level.parse().ok()).unwrap_or(FEATURES).min(FEATURES)
}
