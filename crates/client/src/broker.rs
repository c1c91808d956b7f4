//! Connections as descriptors, from the broker on this host.
//!
//! Calls wait, and need no runtime: the daemon answers in microseconds unless the service is far or dead.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use consul::broker::{Connected, LONGEST, Listed, Offered, Operation, Problem, Reply, Request, VERSION};
use sys::pass::{Passing as _, ReceiveError};

/// A connection to the broker. What was offered over it is offered until it is dropped.
#[derive(Debug)]
pub struct Broker {
    socket: OwnedFd,
    path: PathBuf,
}

/// Why the broker did not do it.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// There is none.
    #[error("reach the broker at {path}")]
    Connect {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// It was reached, and the exchange broke.
    #[error("talk to the broker at {path}")]
    Exchange {
        /// Where.
        path: PathBuf,
        /// How.
        #[source]
        cause: io::Error,
    },
    /// It says no.
    #[error(transparent)]
    Refused(#[from] Problem),
}

/// Where a broker is looked for, best first: `PORTOLAN_BROKER` alone if it is set, else the user's runtime folder
/// and the system's.
pub fn places() -> Vec<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(named) = set("PORTOLAN_BROKER") {
        return vec![named];
    }
    let own = set("XDG_RUNTIME_DIR").map(|folder| folder.join("portolan/broker.sock"));
    own.into_iter().chain(["/run/portolan/broker.sock".into()]).collect()
}

/// The socket that systemd, or `portolan run --listen`, handed this program to accept on: the first of several;
/// `None` without one, and the second time.
pub fn listener() -> Option<OwnedFd> {
    sys::activation::inherited().into_iter().next().map(|(_, socket)| socket)
}

impl Broker {
    /// The broker of this host; `None` when there is none at any of the [`places`].
    pub fn find() -> Option<Broker> {
        places().iter().find_map(|path| Broker::at(path).ok())
    }

    /// The broker at this socket.
    ///
    /// # Errors
    /// [`BrokerError::Connect`].
    pub fn at(path: &Path) -> Result<Broker, BrokerError> {
        let failed = |cause| BrokerError::Connect { path: path.to_owned(), cause };
        let socket = sys::pass::seqpacket(path).map_err(failed)?;
        Ok(Broker { socket, path: path.to_owned() })
    }

    /// Waits no longer than this for an answer.
    ///
    /// # Errors
    /// When the socket takes no limit.
    pub fn within(self, limit: Duration) -> Result<Broker, BrokerError> {
        sys::pass::set_receive_timeout(&self.socket, limit).map_err(|cause| self.broken(cause))?;
        Ok(self)
    }

    /// A connection to a service, by name or URI. `IPC_NETWORK` is honoured: what it maps the name to is what is
    /// reached.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn connect(&self, name: &str) -> Result<(OwnedFd, Connected), BrokerError> {
        let network = std::env::var("IPC_NETWORK").ok().filter(|network| !network.is_empty());
        let request = Request { network, ..Request::about(Operation::Connect, name) };
        let (reply, descriptor) = self.exchange(&request)?;
        reply
            .connected
            .zip(descriptor)
            .map(|(connected, socket)| (socket, connected))
            .ok_or_else(|| self.odd())
    }

    /// Offers a service for as long as this value lives: by a socket that listens, for TCP or in this host; by one end of a
    /// pair over which connections are to be sent, each with a byte; or, without any, by a socket that the broker makes,
    /// which is given to accept on.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn offer(
        &self,
        service: &str,
        socket: Option<BorrowedFd<'_>>,
    ) -> Result<(Offered, Option<OwnedFd>), BrokerError> {
        let request = Request::about(Operation::Offer, service);
        let (reply, made) = self.exchange_with(&request, socket.as_slice())?;
        reply.offered.map(|offered| (offered, made)).ok_or_else(|| self.odd())
    }

    /// All services, in order of name.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn list(&self) -> Result<Vec<Listed>, BrokerError> {
        let mut all: Vec<Listed> = Vec::new();
        loop {
            let after = all.last().map(|last| last.name.to_string());
            let (reply, _) = self.exchange(&Request { after, ..Request::new(Operation::List) })?;
            let page = reply.listing.ok_or_else(|| self.odd())?;
            let is_last = !page.more || page.services.is_empty();
            all.extend(page.services);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Why a name leads where it does, for this program.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn explain(&self, name: &str) -> Result<serde_json::Value, BrokerError> {
        let (reply, _) = self.exchange(&Request::about(Operation::Explain, name))?;
        reply.explanation.ok_or_else(|| self.odd())
    }

    fn exchange(&self, request: &Request) -> Result<(Reply, Option<OwnedFd>), BrokerError> {
        self.exchange_with(request, &[])
    }

    fn exchange_with(
        &self,
        request: &Request,
        along: &[BorrowedFd<'_>],
    ) -> Result<(Reply, Option<OwnedFd>), BrokerError> {
        let written = serde_json::to_vec(request).map_err(|cause| self.broken(cause.into()))?;
        self.socket.send(&written, along).map_err(|cause| self.broken(cause))?;
        let mut buffer = vec![0; LONGEST];
        let packet = self.socket.receive(&mut buffer).map_err(|error| match error {
            ReceiveError::Socket(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                self.broken(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))
            }
            ReceiveError::Socket(cause) => self.broken(cause),
            other => self.broken(io::Error::other(other)),
        })?;
        if packet.length == 0 {
            return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
        }
        let reply: Reply =
            serde_json::from_slice(&buffer[..packet.length]).map_err(|cause| self.broken(cause.into()))?;
        match reply.error {
            Some(problem) => Err(problem.into()),
            None if reply.v != VERSION => Err(self.odd()),
            None => Ok((reply, packet.descriptors.into_iter().next())),
        }
    }

    fn broken(&self, cause: io::Error) -> BrokerError {
        BrokerError::Exchange { path: self.path.clone(), cause }
    }

    fn odd(&self) -> BrokerError {
        self.broken(io::Error::new(io::ErrorKind::InvalidData, "the answer is to another question"))
    }
}
