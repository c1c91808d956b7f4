//! TLS on either side of a connection (rustls with ring).
//!
//! Toward clients: [`Certificates`] are found by the name that a client asks for, [`Terms`] say what a site
//! demands, [`Hello`] is a connection whose first message was read and which is either passed on untouched or
//! secured. Toward endpoints: [`Client`]. Files are read again when they change; a certificate can also be handed
//! in at run time, by name.
//!
//! What is absent: early data (a request in it could be replayed), and any way to skip verification, except for
//! [`Keyed`], whose caller proves by a key what a certificate would.

mod certificates;
mod client;
mod files;
mod handshakes;
mod hello;
mod identity;
mod keyed;
mod server;
mod upstreams;

use std::io;
use std::path::PathBuf;

pub use certificates::{Certificates, Pair};
pub use client::{Client, ClientSettings, Speak};
pub use files::{CertificateFiles, Watched};
pub use handshakes::{Handshake, Handshakes};
pub use hello::{Hello, Secured, hello};
pub use identity::{dns_names, spiffe_id};
pub use keyed::{Binding, Keyed};
pub use rustls::ServerConfig;
pub use rustls::pki_types::{CertificateDer, PrivateKeyDer};
pub use server::{ClientAuthority, Terms};
pub use upstreams::Upstreams;

/// Certificates, keys or settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or has not in it what it should.
    #[error("read {what} from {}", path.display())]
    File {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// What was handed in is no PEM of the kind.
    #[error("read {what}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// Why not.
        #[source]
        cause: rustls::pki_types::pem::Error,
    },
    /// A key that does not belong to its certificate, or one of a kind that is not supported.
    #[error("use the certificate and key of {what}")]
    Pair {
        /// Whose.
        what: String,
        /// Why not.
        #[source]
        cause: rustls::Error,
    },
    /// Authorities by whom nobody could be verified.
    #[error("trust the authorities in {}", path.display())]
    Authority {
        /// Where they stand.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: rustls::Error,
    },
    /// A certificate could not be made.
    #[error("make a certificate: {0}")]
    Made(String),
    /// rustls refuses the settings.
    #[error("set TLS up")]
    Setup(#[source] rustls::Error),
    /// A certificate without its key, or the other way round.
    #[error("a client certificate needs its key, and a key its certificate")]
    Half,
    /// Not a name that a certificate could have.
    #[error("\"{0}\" is no name that a certificate could have")]
    Name(String),
}

/// rustls's choice of algorithms: ring's.
fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<std::sync::Arc<rustls::crypto::CryptoProvider>> =
        std::sync::OnceLock::new();
    PROVIDER.get_or_init(|| rustls::crypto::ring::default_provider().into()).clone()
}
