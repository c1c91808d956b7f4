//! This node's own entry in the catalog.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Arc;

use catalog::{
    CheckRegistration, Command, InitialStatus, NodeDef, NodeRegistration, Register, Snapshot, Status,
};
use store::{Store, SubmitError};

/// The check that every node has, by the name that Consul's clients look for.
pub const SERF_HEALTH: &str = catalog::LIVENESS_CHECK;

/// The command that makes `def` and its liveness check hold; none when they do.
pub fn node_command(snapshot: &Snapshot, def: &NodeDef) -> Option<Command> {
    let check = catalog::liveness_check();
    let known = snapshot.check(&def.name, SERF_HEALTH);
    let is_judged = snapshot.down(&def.name).is_some();
    let is_alive =
        known.is_some_and(|known| *known.def == check && (known.status == Status::Passing || is_judged));
    let is_known = snapshot.node(&def.name).is_some_and(|node| *node.def == *def);
    if is_alive && is_known {
        return None;
    }
    let checks = vec![CheckRegistration {
        def: check,
        status: InitialStatus::Set(Status::Passing),
        output: "Agent alive and reachable".into(),
    }];
    let node = Some(NodeRegistration { def: def.clone(), only_if_absent: false });
    let register = Register { node, on: def.name.clone(), instance: None, checks };
    Some(Command::Register(Box::new(register)))
}

/// Registers this node with its liveness check, unless that holds already. [`crate::run`] does it again
/// whenever somebody takes the node away.
///
/// # Errors
/// [`SubmitError`].
pub async fn register_node(store: &Store, def: &NodeDef) -> Result<(), SubmitError> {
    match node_command(&store.now(), def) {
        Some(command) => store.submit(command).await.map(drop),
        None => Ok(()),
    }
}

/// The address that this host uses to reach others, by its default route; loopback without one. Nothing is
/// sent: a datagram socket is connected to an address that belongs to nobody (RFC 5737, RFC 3849).
pub fn default_address() -> IpAddr {
    let nobody: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    let source = |(from, to): (IpAddr, IpAddr)| {
        let socket = UdpSocket::bind((from, 0)).ok()?;
        socket.connect((to, 9)).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    nobody.into_iter().find_map(source).unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// A plain definition of a node.
pub fn node_def(name: &str, id: &str, address: IpAddr) -> NodeDef {
    let address: Arc<str> = address.to_string().into();
    let family = if address.contains(':') { "ipv6" } else { "ipv4" };
    let tagged =
        ["lan", "wan"].into_iter().flat_map(|network| [network.into(), format!("{network}_{family}")]);
    NodeDef {
        name: name.into(),
        id: id.into(),
        address: address.clone(),
        tagged_addresses: tagged.map(|tag| (Arc::from(tag), address.clone())).collect(),
        meta: [(Arc::from("consul-network-segment"), Arc::from(""))].into(),
    }
}
