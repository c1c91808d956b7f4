//! What this host is and does: its addresses, and who listens.

mod addresses;
mod diag;
mod ends;
mod gateways;
mod owner;
mod routes;
mod sockets;

use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

pub use addresses::{Network, addresses, networks};
pub use ends::{Connection, Ends, may_end, standing};
pub use gateways::{Gateway, gateways, local_address};
pub use owner::owner;
pub use routes::gateway_between;
pub use sockets::{Listening, ParseError, Transport, listening, parse};

/// Observes a host.
pub trait Host: Send + Sync {
    /// Sockets that wait for peers, of every program.
    ///
    /// # Errors
    /// When the kernel does not tell.
    fn listening(&self) -> io::Result<Vec<Listening>>;

    /// Addresses assigned to interfaces, loopback included.
    ///
    /// # Errors
    /// When the kernel does not tell.
    fn addresses(&self) -> io::Result<Vec<IpAddr>>;
}

/// The host that this process runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisHost;

impl Host for ThisHost {
    fn listening(&self) -> io::Result<Vec<Listening>> {
        listening()
    }

    fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        addresses()
    }
}

/// A host that is what a test says.
#[derive(Debug, Default)]
pub struct FakeHost {
    told: Mutex<(Vec<Listening>, Vec<IpAddr>)>,
}

impl FakeHost {
    /// Says who listens from now on.
    pub fn set_listening(&self, listening: Vec<Listening>) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).0 = listening;
    }

    /// Says which addresses there are from now on.
    pub fn set_addresses(&self, addresses: Vec<IpAddr>) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).1 = addresses;
    }
}

impl Host for FakeHost {
    fn listening(&self) -> io::Result<Vec<Listening>> {
        Ok(self.told.lock().unwrap_or_else(PoisonError::into_inner).0.clone())
    }

    fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        Ok(self.told.lock().unwrap_or_else(PoisonError::into_inner).1.clone())
    }
}
