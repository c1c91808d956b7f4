//! GOST's service discovery: the registry behind its reverse-proxy tunnels, and the ingress rules beside it.
//!
//! A tunnel connection is an instance of a service of kind `Tunnel` with one TTL check. Renewing is
//! reporting on that check, which costs no log entry; silence makes it critical, which hides it from `Get`;
//! a renewal after that brings it back with its old address, because GOST never registers twice.
//!
//! [`Discovery`] knows what the verbs mean. [`http`] and [`grpc`] are two spellings of them and decide
//! nothing. The verbs, fields and status codes follow GOST v3's plugin protocol (`proto.SD`,
//! `proto.Ingress`, and the HTTP plugin of the same names).

mod address;
mod config;
mod discovery;
mod grpc;
mod http;
mod metrics;
mod reply;
mod serve;
mod tls;
mod wire;

pub use config::{Config, Tls};
pub use discovery::{Discovery, Fault, Tunnel};
pub use serve::{Door, Handler, run};
pub use tls::TlsError;

/// Parsers of foreign bytes, for fuzzing: they may refuse anything and panic at nothing.
pub mod fuzz {
    /// A gRPC message body as a client sends it.
    pub fn message(bytes: &[u8]) {
        let _ = crate::wire::unframe(bytes).map(crate::wire::Fields::read);
        let _ = crate::wire::Fields::read(bytes);
    }

    /// An `address` field.
    pub fn address(bytes: &[u8]) {
        if let Ok(text) = std::str::from_utf8(bytes) {
            let _ = crate::address::Address::parse(text, std::net::Ipv4Addr::LOCALHOST.into());
        }
    }
}
