//! The data plane's engine: moves bytes, datagrams and requests between clients and endpoints.
//!
//! One data thread per processor ([`Relay`]), each with a runtime, listeners, pools and buffers of its own
//! ([`Local`]). A face says what a listener is for ([`accept::Accept`]); this crate accepts, chooses an
//! endpoint ([`balance`]), reaches it ([`Dial`]) and relays ([`pump`], [`udp`], [`http`]). Whatever moves
//! bytes is given a [`route::Permit`]: it decides nothing itself.
//!
//! The read of the routes costs one atomic load; no connection waits for the control runtime.

pub mod accept;
pub mod balance;
mod config;
mod dial;
pub mod http;
mod judge;
mod keeping;
pub mod limit;
mod local;
mod metrics;
pub mod proxy_header;
pub mod pump;
mod resolve;
mod stream;
mod threads;
pub mod tls;
pub mod udp;

pub use config::{Config, Policy};
pub use dial::{Attempt, Connection, Dial, Dialing, TcpDial, Unreachable, connect, connect_at_once};
pub use judge::Forbidden;
pub use keeping::Keeping;
pub use local::{Busy, Local};
pub use metrics::Metrics;
pub use stream::{Duplex, Stream};
pub use threads::{Job, Relay, StopOnDrop};
