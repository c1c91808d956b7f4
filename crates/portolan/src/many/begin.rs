//! A node becomes part of a cluster: what is written into its data directory. The daemon that has the directory
//! starts again afterwards, and is a member.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, bail};
use catalog::Snapshot;
use cluster::join::Options;
use cluster::token::JoinToken;
use consul::own::{Initialised, JoinRequest, Joined};

use crate::config::Config;
use crate::daemon::file;
use crate::daemon::home::Home;
use crate::daemon::identity::Identity;
use crate::many::trust::MeshDoor;

/// Says that the node left its cluster.
const LEFT: &str = "left";
/// What the log of a node's time alone is called when it took up a cluster's.
const SET_ASIDE: &str = "before-join";

/// Makes this node the first of a cluster.
///
/// # Errors
/// It belongs to one already; what the disk says.
pub(crate) fn init(home: &Home, config: &Config, name: Option<&str>) -> anyhow::Result<Initialised> {
    let node = Identity::load(home.dir(), name.or(config.node.name.as_deref()))?;
    let addresses = mesh_addresses(config)?;
    let options = cluster::init::Options { name: node.name.clone(), addresses: addresses.clone() };
    let begun = cluster::init::init(home.dir(), &options, now_ms())?;
    Ok(Initialised {
        cluster: begun.identity.facts.cluster.as_str().into(),
        node: node.name.as_str().into(),
        addresses: addresses.iter().map(|address| address.as_str().into()).collect(),
        operator_token_file: begun.operator_token.display().to_string().into(),
    })
}

/// Makes this node part of the cluster that a token is of. `knows` is what its own catalog holds, where that is
/// at hand.
///
/// # Errors
/// A token that is none or is refused, no server that answers, keys of its own that nobody said to discard.
pub(crate) async fn join(
    home: &Home,
    config: &Config,
    request: &JoinRequest,
    knows: Option<&Snapshot>,
) -> anyhow::Result<Joined> {
    let token: JoinToken = request.token.parse()?;
    let keys = knows.map_or(0, |snapshot| snapshot.keys_under("").count());
    if keys > 0 && !request.discard {
        bail!(
            "this node holds {keys} keys of its own, and joining gives it the cluster's: say --discard to lose them"
        );
    }
    let node = Identity::load(home.dir(), config.node.name.as_deref())?;
    crate::compose::etcd::check(config)?;
    let order = config.cluster.order.as_str().to_owned();
    let options = Options { name: node.name.clone(), addresses: mesh_addresses(config)?, role: None, order };
    let (joined, ahead_ms) = cluster::join::join(home.dir(), &token, &options, &MeshDoor, now_ms()).await?;
    if ahead_ms.unsigned_abs() > 60_000 {
        tracing::warn!(
            ahead_ms,
            "this host's clock is far from the servers'; theirs is used for certificates"
        );
    }
    Ok(Joined {
        cluster: joined.facts.cluster.as_str().into(),
        node: node.name.as_str().into(),
        role: joined.facts.role.as_str().into(),
    })
}

/// A node that joined knows what the cluster knows, and nothing else: the log of its time alone is kept beside.
pub(crate) fn set_aside(log: &Path) -> anyhow::Result<()> {
    if !log.exists() {
        return Ok(());
    }
    let to = log.with_extension(SET_ASIDE);
    if to.exists() {
        std::fs::remove_dir_all(&to).with_context(|| format!("remove {}", to.display()))?;
    }
    std::fs::rename(log, &to).with_context(|| format!("rename {} to {}", log.display(), to.display()))
}

/// Notes that this node left for good: it begins anew, alone, when it is started again.
pub(crate) fn mark_left(data_dir: &Path) -> anyhow::Result<()> {
    let path = data_dir.join(LEFT);
    file::replace(&path, b"").with_context(|| format!("write {}", path.display()))
}

/// Puts aside what a node that left had of its cluster.
pub(crate) fn forget_if_left(data_dir: &Path) -> anyhow::Result<()> {
    let mark = data_dir.join(LEFT);
    if !mark.exists() {
        return Ok(());
    }
    for name in ["cluster", "order"] {
        let (from, to) = (data_dir.join(name), data_dir.join(format!("{name}.{LEFT}")));
        if from.exists() {
            if to.exists() {
                std::fs::remove_dir_all(&to).with_context(|| format!("remove {}", to.display()))?;
            }
            std::fs::rename(&from, &to).with_context(|| format!("rename {}", from.display()))?;
        }
    }
    std::fs::remove_file(&mark).with_context(|| format!("remove {}", mark.display()))
}

/// Where others are told to reach this node's mesh.
///
/// # Errors
/// When nothing says so: a mesh on a port that the kernel chooses.
pub(crate) fn mesh_addresses(config: &Config) -> anyhow::Result<Vec<String>> {
    if !config.mesh.advertise.is_empty() {
        return Ok(config.mesh.advertise.clone());
    }
    let listen = config.mesh.listen;
    if listen.port() == 0 {
        bail!(
            "mesh.listen is {listen}: others must find this node at the same port after a restart; name one"
        );
    }
    let address: IpAddr = match (config.node.address, listen.ip()) {
        (Some(address), _) => address,
        (None, bound) if !bound.is_unspecified() => bound,
        (None, _) => health::default_address(),
    };
    Ok(vec![SocketAddr::new(address, listen.port()).to_string()])
}

fn now_ms() -> u64 {
    (cluster::time::system())()
}
