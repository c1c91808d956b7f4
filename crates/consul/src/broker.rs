//! What local programs and the broker say to each other: one request, one reply, each one packet of JSON on a
//! `SOCK_SEQPACKET` socket. A descriptor that belongs to a message travels in the same packet.
//!
//! | `op` | takes | gives |
//! |---|---|---|
//! | `connect` | `name`: a service or a URI; `network`: an `IPC_NETWORK` map | `connected`, with the connection |
//! | `offer` | `name`, what to register of it; with or without a listening socket, or with a connection | `offered`; without a descriptor, one to accept on |
//! | `list` | `after`: the last name that is known | `listing` |
//! | `explain` | `name` | `explanation` |
//!
//! Versions: a request says which it is written in; unknown keys are refused, so that nothing that was asked for is
//! silently left out. Replies may gain keys.

use serde::{Deserialize, Serialize};

use crate::Text;

/// The version that is spoken here.
pub const VERSION: u32 = 1;
/// Longest packet, in bytes, either way.
pub const LONGEST: usize = 64 << 10;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A connection.
    Connect,
    /// To offer a service for as long as this connection of the broker's lasts.
    Offer,
    /// Names of services.
    List,
    /// Why a name leads where it does.
    Explain,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Version; 1.
    pub v: u32,
    /// What is wanted.
    pub op: Operation,
    /// Name or URI. Needed by all but `list`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `connect`, `explain`: a map from names to URIs, as `IPC_NETWORK` holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// `list`: names after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// `offer`: id of the instance; made up when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `offer`: tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl Request {
    /// A request in today's version that says nothing yet.
    pub fn new(op: Operation) -> Request {
        Request { v: VERSION, op, name: None, network: None, after: None, id: None, tags: Vec::new() }
    }

    /// The same about a name.
    #[must_use]
    pub fn about(op: Operation, name: &str) -> Request {
        Request { name: Some(name.to_owned()), ..Request::new(op) }
    }
}

/// A reply: one of the keys beside `v`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Version.
    pub v: u32,
    /// The connection that came along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected: Option<Connected>,
    /// What is offered from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<Offered>,
    /// Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<Listing>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<serde_json::Value>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// What a descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Socket {
    /// A TCP connection.
    Tcp,
    /// A stream over a Unix socket.
    Unix,
    /// A connected UDP socket: one datagram a call.
    Udp,
}

/// A connection that was handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// What the descriptor is.
    pub socket: Socket,
    /// Where it leads, in words: an address, a path, a URI.
    pub to: Text,
    /// Service, where it was one.
    #[serde(default)]
    pub service: Text,
    /// Node of the instance.
    #[serde(default)]
    pub node: Text,
    /// Id of the instance.
    #[serde(default)]
    pub instance: Text,
    /// True when the daemon moves the bytes (TLS, WebSocket, the mesh); false when it is out of the path.
    pub relayed: bool,
}

/// What is offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Service name.
    pub service: Text,
    /// Id of the instance.
    pub instance: Text,
}

/// A page of services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Services in order of name.
    pub services: Vec<Listed>,
    /// True when there are more after the last.
    pub more: bool,
}

/// A service in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Name.
    pub name: Text,
    /// Instances that are registered.
    pub registered: usize,
    /// Of these, how many take connections.
    pub usable: usize,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// For programs.
    pub kind: ProblemKind,
    /// For people.
    pub message: String,
}

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The request cannot be read, or says something that cannot be meant.
    Malformed,
    /// The request is written in another version.
    Version,
    /// Nobody registered that name.
    Unknown,
    /// Registered, but nothing takes connections.
    Unhealthy,
    /// The rules say no.
    Denied,
    /// It was tried, and nobody answered.
    Unreachable,
    /// The caller has as much as one may have.
    Busy,
    /// This cannot be done here.
    Unsupported,
    /// The broker's own fault.
    #[serde(other)]
    Internal,
}

impl Problem {
    /// A problem in words.
    pub fn new(kind: ProblemKind, message: impl ToString) -> Problem {
        Problem { kind, message: message.to_string() }
    }
}
