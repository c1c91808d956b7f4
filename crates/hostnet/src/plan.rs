//! Where a virtual address listens on this host. Pure: from what is wished and what was observed to a
//! decision with its reason in words.
//!
//! While we hold `127.77.x.y:P`, a program that binds `0.0.0.0:P` fails. So a port is left alone where a
//! local program has it on every address, or may want it: where something is registered on this host with
//! that port and nobody knows yet on which address it listens.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use route::VirtualSocket;
use sys::host::{Listening, Transport};

use crate::config::Config;
use crate::transparent::Led;

/// What a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transports {
    /// Connections.
    pub tcp: bool,
    /// Datagrams.
    pub udp: bool,
}

impl Transports {
    /// True when it takes something.
    pub fn any(self) -> bool {
        self.tcp || self.udp
    }

    fn takes(self, transport: Transport) -> bool {
        match transport {
            Transport::Tcp => self.tcp,
            Transport::Udp => self.udp,
        }
    }
}

/// A service that should be reachable at its virtual address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Service name.
    pub service: Arc<str>,
    /// Its virtual address.
    pub address: Ipv4Addr,
    /// The port that belongs to it.
    pub port: u16,
    /// What its listener takes.
    pub transports: Transports,
}

/// What was observed of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Everybody's listening sockets, ours among them.
    pub listening: Vec<Listening>,
    /// Addresses assigned to interfaces.
    pub addresses: Vec<IpAddr>,
    /// Ports that instances on this host are registered with, and one instance's name for each.
    pub registered: BTreeMap<u16, Arc<str>>,
    /// Our user.
    pub uid: u32,
    /// What the kernel leads to one listener: no port there has to be listened on.
    pub led: Led,
}

impl Observed {
    /// What has to be listened on at an address for somebody who takes these: nothing where one listener takes all.
    pub fn bound(&self, address: Ipv4Addr, transports: Transports) -> Transports {
        if self.is_led(address) { Transports { tcp: false, udp: false } } else { transports }
    }

    /// What must not be somebody else's there: what is listened on, and where answers to datagrams leave.
    fn needed(&self, address: Ipv4Addr, transports: Transports) -> Transports {
        Transports { tcp: transports.tcp && !self.is_led(address), ..transports }
    }

    fn is_led(&self, address: Ipv4Addr) -> bool {
        self.led.ranges.iter().any(|range| range.contains(address))
    }

    /// True of the sockets that answer datagrams of clients who need not have asked for the name.
    fn is_answering(&self, other: &Listening) -> bool {
        let SocketAddr::V4(at) = other.address else { return false };
        other.transport == Transport::Udp && other.uid == self.uid && self.is_led(*at.ip())
    }
}

/// What experience adds: sockets that are ours, and those that the kernel refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Virtual sockets that we hold, by address.
    pub ours: BTreeMap<SocketAddrV4, Arc<str>>,
    /// Sockets that could not be bound, and why.
    pub refused: BTreeMap<SocketAddrV4, Arc<str>>,
}

/// The decision for one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Listen here.
    At(VirtualSocket),
    /// The address is this host's own: the service needs another. Why.
    Avoid(String),
    /// Nowhere. Why.
    Nowhere(String),
}

/// Decides where a service's virtual address listens. A socket that is `held` stays as long as it can, so
/// that nothing moves without need.
pub fn place(
    wish: &Wish,
    held: Option<&VirtualSocket>,
    host: &Observed,
    known: &Known,
    config: &Config,
) -> Placement {
    if let Some(why) = foreign(wish.address, host, known) {
        return Placement::Avoid(why);
    }
    let at = |port| SocketAddrV4::new(wish.address, port);
    let needed = host.needed(wish.address, wish.transports);
    let six = host.led.six.filter(|_| host.is_led(wish.address)).map(|range| range.address(wish.address));
    if !needed.any() {
        return Placement::At(VirtualSocket { address: at(wish.port), moved: None, six });
    }
    let conflict = |port| conflict(at(port), needed, host, known);
    if let Some(held) = held.filter(|held| *held.address.ip() == wish.address)
        && conflict(held.address.port()).is_none()
    {
        return Placement::At(VirtualSocket { six, ..held.clone() });
    }
    let Some(why) = conflict(wish.port) else {
        return Placement::At(VirtualSocket { address: at(wish.port), moved: None, six });
    };
    match fallback(&wish.service, config).find(|port| conflict(*port).is_none()) {
        Some(port) => Placement::At(VirtualSocket {
            address: at(port),
            moved: Some(format!("port {} is not taken: {why}", wish.port).into()),
            six,
        }),
        None => Placement::Nowhere(format!(
            "{why}, and no port from {} to {} is free",
            config.fallback_first, config.fallback_last
        )),
    }
}

/// Why an address is not ours to use. Another program of our own user may be another daemon on this host,
/// which wants the same address for the same reason: giving way to it would move the service for ever.
fn foreign(address: Ipv4Addr, host: &Observed, known: &Known) -> Option<String> {
    if host.addresses.contains(&address.into()) {
        return Some(format!("{address} is assigned to an interface of this host"));
    }
    let there = host.listening.iter().find(|other| {
        let SocketAddr::V4(at) = other.address else { return false };
        *at.ip() == address && other.uid != host.uid && !known.ours.contains_key(&at)
    })?;
    Some(format!("a program of user {} listens on {}", there.uid, there.address))
}

/// Why a socket should not be taken.
fn conflict(at: SocketAddrV4, transports: Transports, host: &Observed, known: &Known) -> Option<String> {
    if let Some(why) = known.refused.get(&at) {
        return Some(why.to_string());
    }
    let port = at.port();
    let relevant = |other: &&Listening| {
        other.address.port() == port
            && transports.takes(other.transport)
            && !matches!(other.address, SocketAddr::V4(v4) if known.ours.contains_key(&v4))
            && !host.is_answering(other)
    };
    let mut others = host.listening.iter().filter(relevant).peekable();
    let somebody = others.peek().is_some();
    if let Some(other) = others.find(|other| other.is_wildcard() || other.address == SocketAddr::V4(at)) {
        return Some(format!("a program on this host listens on {}", other.address));
    }
    let registered = host.registered.get(&port).filter(|_| !somebody)?;
    Some(format!(
        "\"{registered}\" is registered on this host with that port and may listen on every address"
    ))
}

/// Ports to try instead, always in the same order for a service.
fn fallback(service: &str, config: &Config) -> impl Iterator<Item = u16> {
    let first = u64::from(config.fallback_first.max(1));
    let count = u64::from(config.fallback_last).saturating_sub(first) + 1;
    let start = fnv1a(service);
    (0..count).map(move |step| (first + start.wrapping_add(step) % count) as u16)
}

/// FNV-1a, 64 bits: the order of ports must be the same after a restart.
fn fnv1a(text: &str) -> u64 {
    let lower = text.bytes().map(|byte| byte.to_ascii_lowercase());
    lower.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TCP: Transports = Transports { tcp: true, udp: false };
    const US: u32 = 1000;

    fn wish(port: u16) -> Wish {
        Wish { service: "web".into(), address: [127, 77, 1, 2].into(), port, transports: TCP }
    }

    fn listens(address: &str) -> Listening {
        Listening { transport: Transport::Tcp, address: address.parse().unwrap(), uid: 0 }
    }

    fn host(listening: &[&str]) -> Observed {
        Observed {
            listening: listening.iter().map(|at| listens(at)).collect(),
            uid: US,
            ..Observed::default()
        }
    }

    fn decide(wish: &Wish, host: &Observed) -> Placement {
        place(wish, None, host, &Known::default(), &Config::default())
    }

    fn socket(placement: Placement) -> VirtualSocket {
        match placement {
            Placement::At(socket) => socket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_free_port_is_taken_as_it_is() {
        for others in [&[][..], &["127.0.0.1:80"], &["10.0.0.1:80", "0.0.0.0:81"]] {
            let socket = socket(decide(&wish(80), &host(others)));
            assert_eq!((socket.address.to_string().as_str(), socket.moved), ("127.77.1.2:80", None));
        }
    }

    #[test]
    fn a_wildcards_port_is_left_alone_and_the_reason_is_told() {
        for wildcard in ["0.0.0.0:80", "[::]:80"] {
            let socket = socket(decide(&wish(80), &host(&[wildcard])));
            assert!((20_000..30_000).contains(&socket.address.port()));
            let why = socket.moved.unwrap();
            assert!(why.contains("port 80") && why.contains(wildcard), "{why}");
        }
        let datagrams = Listening { transport: Transport::Udp, ..listens("0.0.0.0:80") };
        let host = Observed { listening: vec![datagrams], ..host(&[]) };
        assert_eq!(socket(decide(&wish(80), &host)).moved, None, "another protocol is no conflict");
    }

    #[test]
    fn a_registered_port_is_left_alone_until_its_address_is_known() {
        let mut host = host(&[]);
        host.registered.insert(80, "web-1".into());
        let why = socket(decide(&wish(80), &host)).moved.unwrap();
        assert!(why.contains("\"web-1\" is registered on this host"), "{why}");
        host.listening.push(listens("127.0.0.1:80"));
        assert_eq!(socket(decide(&wish(80), &host)).moved, None, "it listens on one address only");
        host.listening.push(listens("0.0.0.0:80"));
        assert!(socket(decide(&wish(80), &host)).moved.is_some());
    }

    #[test]
    fn another_port_is_found_where_several_are_taken() {
        let first = socket(decide(&wish(80), &host(&["0.0.0.0:80"]))).address.port();
        assert_eq!(
            socket(decide(&wish(80), &host(&["0.0.0.0:80"]))).address.port(),
            first,
            "always the same"
        );
        let taken = format!("0.0.0.0:{first}");
        let second = socket(decide(&wish(80), &host(&["0.0.0.0:80", &taken]))).address.port();
        assert_ne!(second, first);
        let narrow = Config { fallback_first: 20_000, fallback_last: 20_000, ..Config::default() };
        let full = host(&["0.0.0.0:80", "0.0.0.0:20000"]);
        let nowhere = place(&wish(80), None, &full, &Known::default(), &narrow);
        assert!(matches!(nowhere, Placement::Nowhere(why) if why.contains("no port from 20000 to 20000")));
    }

    #[test]
    fn what_the_kernel_refused_is_not_tried_again() {
        let mut known = Known::default();
        known.refused.insert("127.77.1.2:80".parse().unwrap(), "binding it needs a privilege".into());
        let socket = socket(place(&wish(80), None, &host(&[]), &known, &Config::default()));
        assert!(socket.moved.unwrap().contains("needs a privilege"));
    }

    #[test]
    fn what_is_held_stays_unless_it_must_go() {
        let moved = VirtualSocket {
            address: "127.77.1.2:20500".parse().unwrap(),
            moved: Some("before".into()),
            six: None,
        };
        let mut known = Known::default();
        known.ours.insert(moved.address, "web".into());
        let config = Config::default();
        // Our own socket is in the kernel's table too.
        let calm = host(&["127.77.1.2:20500"]);
        assert_eq!(place(&wish(80), Some(&moved), &calm, &known, &config), Placement::At(moved.clone()));
        let mut crowded = calm.clone();
        crowded.registered.insert(20_500, "other".into());
        assert_ne!(place(&wish(80), Some(&moved), &crowded, &known, &config), Placement::At(moved.clone()));
        let elsewhere = Wish { address: [127, 77, 9, 9].into(), ..wish(80) };
        let socket = socket(place(&elsewhere, Some(&moved), &calm, &known, &config));
        assert_eq!(socket.address.to_string(), "127.77.9.9:80");
    }

    #[test]
    fn an_address_of_this_host_is_avoided() {
        let assigned = Observed { addresses: vec!["127.77.1.2".parse().unwrap()], ..host(&[]) };
        assert!(matches!(decide(&wish(80), &assigned), Placement::Avoid(why) if why.contains("assigned")));
        let used = host(&["127.77.1.2:9999"]);
        assert!(matches!(decide(&wish(80), &used), Placement::Avoid(why) if why.contains("127.77.1.2:9999")));
        // Another daemon of ours: share the address, take another port if need be.
        let twin = Observed { uid: 0, ..host(&["127.77.1.2:80"]) };
        assert!(socket(decide(&wish(80), &twin)).moved.is_some());
    }

    proptest! {
        /// Whatever is there: a placement never conflicts, and placing again changes nothing.
        #[test]
        fn a_placement_is_free_and_settled(
            wanted in 1u16.., ports in proptest::collection::vec(19_990u16..30_010, 0..40), registered in 1u16..
        ) {
            let mut host = host(&[]);
            host.listening = ports.iter().map(|port| listens(&format!("0.0.0.0:{port}"))).collect();
            host.registered.insert(registered, "other".into());
            let socket = socket(decide(&wish(wanted), &host));
            let port = socket.address.port();
            prop_assert!(!ports.contains(&port) && (port != registered || ports.contains(&registered)));
            let mut known = Known::default();
            known.ours.insert(socket.address, "web".into());
            host.listening.push(Listening { uid: US, ..listens(&socket.address.to_string()) });
            let again = place(&wish(wanted), Some(&socket), &host, &known, &Config::default());
            prop_assert_eq!(again, Placement::At(socket));
        }
    }
}
