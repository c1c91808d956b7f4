//! Links between nodes: QUIC with both sides proven by certificate, typed streams on them, and TLS over TCP
//! beside it for bulk.
//!
//! [`Mesh`] is what the rest of the program holds. It is told whom to believe ([`Trust`]) and with whom to be linked
//! ([`Peers`]), both as whole states that may change at any time. Between two nodes there is one *control* link, kept
//! up by whoever can dial, and *data* links when there is something to carry. A stream begins with its [`Kind`];
//! whoever registered for the kind at the other end gets it, with the name of the peer. Messages in order, with the
//! beginning and the end of each session told, are a [`Channel`].
//!
//! Nothing is known here of the log, of the cluster's membership, or of how certificates come about. Deliberately
//! absent: early data and session resumption (a peer is judged at every handshake), datagrams, and any trust in what
//! a peer says of itself beyond its certificate.

mod carrier;
mod channel;
mod config;
mod dial;
pub mod frame;
pub mod fuzz;
mod gate;
mod greet;
mod guest;
pub mod hello;
mod identity;
pub mod join;
mod judge;
mod link;
mod listen;
mod mark;
mod mesh;
mod open;
pub mod preface;
mod serve;
mod stream;
mod table;
mod tls;
mod trust;

pub use channel::{Channel, ChannelEvent, Ended};
pub use config::{Config, Limits, Speaks, WIRE_VERSION};
pub use dial::DialError;
pub use guest::{Guest, Visit, VisitStream};
pub use identity::{KeyHash, NotAKeyHash, NotNamed, is_node_name, name_of};
pub use judge::{Disbelief, Invalid, Peer};
pub use mesh::{Mesh, Sockets, StartError};
pub use open::{Lane, OpenError};
pub use preface::Kind;
pub use serve::Incoming;
pub use stream::{Receive, Send, Stream};
pub use table::{LinkState, Links, Up};
pub use trust::{Naming, Peers, Trust, TrustError};
