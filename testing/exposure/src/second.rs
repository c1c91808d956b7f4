//! A second router, of another provider: a second way out for the client's host, or the home of somebody else.

use std::path::Path;
use std::process::Command;

use crate::guest::Guest;
use crate::home::{Fallible, Home, enter, shell};
use crate::names;
use crate::router::Router;

/// It goes with the value. Inside it is 192.168.78.1.
pub struct Second {
    router: Router,
    namespace: String,
}

impl Second {
    /// Its address on the side of the world.
    pub const OUTSIDE: &'static str = "45.84.0.1";
}

impl Home {
    /// Starts it, at a line of its own to the world.
    ///
    /// # Errors
    /// What `ip` or the router said.
    pub fn second_router(&self) -> Fallible<Second> {
        let (namespace, world) = (names::unique("s"), self.world_name());
        let folder = self.folder.path().join("second");
        std::fs::create_dir(&folder)?;
        shell(&format!("ip netns add {namespace} && ip -n {namespace} link set lo up"))?;
        let second = Second { router: Router::new(&namespace, &folder), namespace };
        let (name, outside) = (&second.namespace, Second::OUTSIDE);
        shell(&format!(
            "set -e
            ip -n {name} link add lan0 type bridge
            ip -n {name} addr add 192.168.78.1/24 dev lan0; ip -n {name} link set lan0 up
            ip link add eth1 netns {world} type veth peer name wan0 netns {name}
            ip -n {world} addr add 45.84.0.2/24 dev eth1; ip -n {world} link set eth1 up
            ip -n {name} addr add {outside}/24 dev wan0; ip -n {name} link set wan0 up
            ip -n {name} route add default via 45.84.0.2
            ip netns exec {name} sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'"
        ))?;
        second.router.start("192.168.78")?;
        Ok(second)
    }
}

impl Second {
    /// Links the client's host to it too, as 192.168.78.2, by a default route that is the second choice.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn link_client(&self, home: &Home) -> Fallible<()> {
        let (name, client) = (&self.namespace, home.client_name());
        shell(&format!(
            "set -e
            ip link add eth1 netns {client} type veth peer name p2 netns {name}
            ip -n {name} link set p2 master lan0 up
            ip -n {client} addr add 192.168.78.2/24 dev eth1; ip -n {client} link set eth1 up
            ip -n {client} route add default via 192.168.78.1 metric 200"
        ))
    }

    /// Adds a host behind it with this last byte of an address. It has no firewall.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn neighbour(&self, last: u8) -> Fallible<Guest> {
        Guest::behind(&self.namespace, "192.168.78", last)
    }

    /// Mappings that it holds, as [`Home::mappings`] has them.
    ///
    /// # Errors
    /// A lease file that cannot be read.
    pub fn mappings(&self) -> Fallible<Vec<String>> {
        self.router.mappings()
    }

    /// A command on it.
    pub fn run(&self, program: impl AsRef<Path>) -> Command {
        enter(&self.namespace, program.as_ref())
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        drop(self.router.take());
        drop(Command::new("ip").args(["netns", "del", &self.namespace]).output());
    }
}
