//! More hosts: one behind an interface of the client's host, as a container is, and neighbours of the client.

use std::path::Path;
use std::process::Command;

use crate::home::{Fallible, Home, enter, shell};
use crate::names;

/// It goes with the value.
pub struct Guest {
    name: String,
}

impl Home {
    /// Adds one behind `interface`, in a network whose first three bytes are `network`; the client's host is `.1` and its
    /// gateway, and `fd00:30::1` by IPv6.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn container(&self, interface: &str, network: &str) -> Fallible<Guest> {
        let (name, client) = (names::unique("k"), self.client_name());
        shell(&format!("ip netns add {name} && ip -n {name} link set lo up"))?;
        let container = Guest { name };
        let name = &container.name;
        shell(&format!(
            "set -e
            ip link add eth0 netns {name} type veth peer name {interface} netns {client}
            ip -n {client} addr add {network}.1/24 dev {interface}; ip -n {client} link set {interface} up
            ip -n {client} addr add fd00:30::1/64 dev {interface} nodad
            ip -n {name} addr add {network}.2/24 dev eth0; ip -n {name} link set eth0 up
            ip -n {name} addr add fd00:30::2/64 dev eth0 nodad
            ip -n {name} route add default via {network}.1; ip -n {name} -6 route add default via fd00:30::1"
        ))?;
        Ok(container)
    }

    /// Adds one on the client's network, behind the same router, with this last byte of an address. It has no firewall.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn neighbour(&self, last: u8) -> Fallible<Guest> {
        Guest::behind(self.gateway_name(), "192.168.77", last)
    }
}

impl Guest {
    /// On the network of a router in this namespace, of which these are the first three bytes.
    pub(crate) fn behind(router: &str, network: &str, last: u8) -> Fallible<Guest> {
        let name = names::unique("n");
        shell(&format!("ip netns add {name} && ip -n {name} link set lo up"))?;
        let neighbour = Guest { name };
        let name = &neighbour.name;
        shell(&format!(
            "set -e
            ip link add eth0 netns {name} type veth peer name n{last} netns {router}
            ip -n {router} link set n{last} master lan0 up
            ip -n {name} addr add {network}.{last}/24 dev eth0; ip -n {name} link set eth0 up
            ip -n {name} route add default via {network}.1"
        ))?;
        Ok(neighbour)
    }

    /// A command on it.
    pub fn run(&self, program: impl AsRef<Path>) -> Command {
        enter(&self.name, program.as_ref())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(Command::new("ip").args(["netns", "del", &self.name]).output());
    }
}
