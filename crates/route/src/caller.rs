//! Who asks for a connection, and what is known of the way.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use catalog::Direction;
use serde::Serialize;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// A program on this host, known by the kernel's word.
    Local {
        /// Its user id.
        uid: u32,
    },
    /// A program on this host that the kernel does not name (loopback TCP).
    Node {
        /// This node's name.
        name: Arc<str>,
    },
    /// A name proven by certificate, token or key.
    Identity {
        /// SPIFFE id, or the name that a token or key stands for.
        id: Arc<str>,
    },
    /// A program on another node, named by that node, which proved itself.
    Delegated {
        /// The node.
        node: Arc<str>,
        /// User id there.
        uid: u32,
        /// The name that the node gives to that user, where it gives one.
        identity: Option<Arc<str>>,
    },
    /// Nobody we know, from there.
    Anonymous {
        /// Source address.
        from: IpAddr,
    },
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Principal::Local { uid } => write!(f, "user {uid}"),
            Principal::Node { name } => write!(f, "a program on {name}"),
            Principal::Identity { id } => f.write_str(id),
            Principal::Delegated { node, identity: Some(identity), .. } => write!(f, "{identity} on {node}"),
            Principal::Delegated { node, uid, identity: None } => write!(f, "user {uid} on {node}"),
            Principal::Anonymous { from } => write!(f, "somebody at {from}"),
        }
    }
}

/// The host at the other side of a route, or of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerHost {
    /// A name that a certificate proves, or a name or address out of a URI; in lower case.
    pub name: Arc<str>,
    /// Port out of a URI.
    pub port: Option<u16>,
}

/// A wish for a connection, as far as rules may ask about it.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// From which address, where there is one.
    pub from: Option<IpAddr>,
    /// By what it comes, or leaves: a word like `tcp`, `http`, `udp`, `unix`, `tls`, `ws`, `quic`.
    pub scheme: &'a Cow<'static, str>,
    /// The other side, as whoever asks calls it.
    pub host: Option<&'a PeerHost>,
    /// The address that its name led to, where one was asked for. A rule about either is about the connection.
    pub resolved: Option<&'a PeerHost>,
    /// A program of this host goes out, whatever its name and by whatever it leaves.
    pub is_outward: bool,
}

const TCP: &Cow<'static, str> = &Cow::Borrowed("tcp");

impl<'a> Caller<'a> {
    /// Who comes by `scheme`.
    #[expect(
        clippy::ptr_arg,
        reason = "a permit keeps a copy of the word, which costs nothing while it is static"
    )]
    pub fn by(principal: &'a Principal, scheme: &'a Cow<'static, str>) -> Caller<'a> {
        let from = match principal {
            Principal::Anonymous { from } => Some(*from),
            _ => None,
        };
        Caller { principal, from, scheme, host: None, resolved: None, is_outward: false }
    }

    /// The same, from this address.
    pub fn from_address(self, from: IpAddr) -> Caller<'a> {
        Caller { from: Some(from), ..self }
    }

    /// The same as a program of this host, toward `host`, which is at `resolved`.
    pub fn outward(self, host: &'a PeerHost, resolved: Option<&'a PeerHost>) -> Caller<'a> {
        Caller { host: Some(host), resolved, is_outward: true, ..self }
    }

    /// Which way the connection goes.
    pub(crate) fn direction(&self, here: &str) -> Direction {
        match self.principal {
            _ if self.is_outward => Direction::Out,
            // Only programs of this host come by a Unix socket, whatever names they have.
            _ if self.scheme == "unix" => Direction::Out,
            Principal::Local { .. } => Direction::Out,
            Principal::Node { name } if **name == *here || here.is_empty() => Direction::Out,
            _ => Direction::In,
        }
    }
}

/// Who comes by plain TCP.
impl<'a> From<&'a Principal> for Caller<'a> {
    fn from(principal: &'a Principal) -> Caller<'a> {
        Caller::by(principal, TCP)
    }
}
