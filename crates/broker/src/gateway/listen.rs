//! The sockets where remote clients come, taken before anything else happens.

use std::io;
use std::net::{SocketAddr, TcpListener};

use sys::listen::Sharing;

use super::config::Config;

/// A socket could not be had.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address} for the gateway")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// Which setting says so.
    pub key: &'static str,
    /// Why not.
    #[source]
    pub cause: io::Error,
}

/// Listening sockets.
#[derive(Debug, Default)]
pub struct Listeners {
    pub(super) plain: Vec<TcpListener>,
    pub(super) tls: Vec<TcpListener>,
}

impl Listeners {
    /// Takes all sockets that `config` names.
    ///
    /// # Errors
    /// The first that cannot be had.
    pub fn reserve(config: &Config) -> Result<Listeners, BindError> {
        let take = |key, addresses: &[SocketAddr]| {
            let taken = addresses.iter().map(|address| {
                let failed = |cause| BindError { address: *address, key, cause };
                sys::listen::tcp(*address, Sharing::Exclusive).map_err(failed)
            });
            taken.collect::<Result<Vec<_>, _>>()
        };
        Ok(Listeners {
            plain: take("gateway.listen", &config.listen)?,
            tls: take("gateway.listen_tls", &config.listen_tls)?,
        })
    }

    /// True when nobody can come.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.tls.is_empty()
    }

    /// Where clients come without TLS.
    ///
    /// # Errors
    /// The kernel's.
    pub fn plain(&self) -> io::Result<Vec<SocketAddr>> {
        self.plain.iter().map(TcpListener::local_addr).collect()
    }

    /// Where clients come with TLS.
    ///
    /// # Errors
    /// The kernel's.
    pub fn tls(&self) -> io::Result<Vec<SocketAddr>> {
        self.tls.iter().map(TcpListener::local_addr).collect()
    }
}
