//! Where this host is reached: what the configuration says, or the default route when it says nothing, as both change.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use catalog::NodeDef;
use cluster::Local;

use super::begin;
use crate::config::Config;

/// Where others are told to go, and what they are told of this node.
pub(crate) struct Whereabouts {
    config: Config,
    local: Arc<Local>,
    itself: NodeDef,
}

impl Whereabouts {
    pub(crate) fn new(config: Config, local: Arc<Local>, itself: NodeDef) -> Whereabouts {
        Whereabouts { config, local, itself }
    }

    /// Looks, and writes down what has changed. True when something has, and the others are to be told.
    pub(crate) fn look(&mut self) -> bool {
        let Ok(now) = begin::mesh_addresses(&self.config) else { return false };
        let before = self.local.with(|identity| identity.facts.addresses.clone());
        if now == before || (is_guessed(&self.config) && ip_of(&now).is_some_and(|ip| ip.is_loopback())) {
            // A host that has lost its network is nowhere; where it was, it may be again.
            return false;
        }
        if let Err(error) = self.local.move_to(now.clone()) {
            tracing::warn!(?now, %error, "this node is reached elsewhere now, and could not write it down");
            return false;
        }
        tracing::info!(?before, ?now, "this node is reached elsewhere now");
        if let Some((old, new)) = ip_of(&before).zip(ip_of(&now))
            && *self.itself.address == *old.to_string()
        {
            self.itself = health::node_def(&self.itself.name, &self.itself.id, new);
        }
        true
    }

    /// This node as the catalog should have it.
    pub(crate) fn itself(&self) -> &NodeDef {
        &self.itself
    }
}

/// Whether nothing but the default route says where this node is.
fn is_guessed(config: &Config) -> bool {
    let said = !config.mesh.advertise.is_empty() || config.node.address.is_some();
    !said && config.mesh.listen.ip().is_unspecified()
}

fn ip_of(addresses: &[String]) -> Option<IpAddr> {
    Some(addresses.first()?.parse::<SocketAddr>().ok()?.ip())
}
