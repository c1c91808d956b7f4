//! The sockets where programs ask, taken before anything else happens.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use sys::pass::Found;

use crate::config::Config;
use crate::incoming::{self, Open};
use crate::libipc::Folder;

/// A socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The kernel says no.
    #[error("listen for local programs on {path}; `broker` in the configuration says where")]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The kernel says no to an address.
    #[error("listen for other hosts on {address}; `broker.incoming` in the configuration says where")]
    Address {
        /// Which.
        address: SocketAddr,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A certificate, a key or authorities cannot be used.
    #[error("set up TLS for other hosts (`broker.incoming`)")]
    Tls(#[source] relay::tls::TlsError),
    /// A setting is wrong.
    #[error("broker.socket_mode: {0}")]
    Mode(String),
}

/// Listening sockets, with where they are.
#[derive(Debug, Default)]
pub struct Listeners {
    local: Vec<Listener>,
    remote: Vec<Open>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) path: PathBuf,
    pub(crate) socket: OwnedFd,
    pub(crate) speaks: Speaks,
    /// Whether the path goes with it.
    pub(crate) is_own: bool,
}

/// What is spoken on a socket.
#[derive(Debug, Clone)]
pub(crate) enum Speaks {
    /// Our own protocol.
    Packets,
    /// libipc's, for the services of this folder.
    Libipc(Folder),
}

/// Where programs look for a broker: `/run/portolan/broker.sock` for root, `portolan/broker.sock` in the runtime
/// folder for everybody else; `None` where a user has no such folder.
pub fn default_socket() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some("/run/portolan/broker.sock".into());
    }
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    folder.map(|folder| folder.join("portolan/broker.sock"))
}

impl Listeners {
    /// Takes the sockets that the configuration names. The one that it does not name is done without when it is
    /// not to be had: a second daemon of a host, or a system without such a folder, starts all the same.
    ///
    /// # Errors
    /// [`BindError`] about a socket that was asked for.
    pub fn reserve(config: &Config) -> Result<Listeners, BindError> {
        let mode = config.mode().map_err(BindError::Mode)?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            |cause| BindError::Socket { path, cause }
        };
        let mut listeners = match &config.socket {
            Some(path) if path.as_os_str().is_empty() => Vec::new(),
            Some(path) => {
                let socket = sys::pass::listen_seqpacket(path, mode).map_err(failed(path))?;
                vec![Listener { path: path.clone(), socket, speaks: Speaks::Packets, is_own: true }]
            }
            None => default_socket().and_then(|path| usual(path, mode)).into_iter().collect(),
        };
        for folder in config.folders() {
            let path = folder.own_socket();
            let made = Folder::make(&folder.path).and_then(|()| sys::pass::listen_stream(&path, mode));
            let socket = made.map_err(failed(&path))?;
            listeners.push(Listener { path, socket, speaks: Speaks::Libipc(folder), is_own: true });
        }
        Ok(Listeners { local: listeners, remote: incoming::reserve(config)? })
    }

    /// Adds a socket of packets that somebody else has bound: systemd, for one. Its path is left when the node goes.
    ///
    /// # Errors
    /// When it is no such socket.
    pub fn add(&mut self, socket: OwnedFd) -> io::Result<()> {
        let Found::Packets(address) = sys::pass::found(&socket)? else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen for packets"));
        };
        let path = address.show().into();
        self.local.push(Listener { path, socket, speaks: Speaks::Packets, is_own: false });
        Ok(())
    }

    /// Where programs ask.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.local.iter().map(|listener| listener.path.as_path())
    }

    /// Where other hosts come in. Ports are the real ones, also where 0 was asked for.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.remote.iter().filter_map(|open| open.listener.local_addr().ok()).collect()
    }

    pub(crate) fn into_all(self) -> (Vec<Listener>, Vec<Open>) {
        (self.local, self.remote)
    }
}

fn usual(path: PathBuf, mode: u32) -> Option<Listener> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    match made.and_then(|()| sys::pass::listen_seqpacket(&path, mode)) {
        Ok(socket) => Some(Listener { path, socket, speaks: Speaks::Packets, is_own: true }),
        Err(cause) => {
            let path = path.display();
            tracing::info!(%path, %cause, "no broker socket; `broker.socket` names another place");
            None
        }
    }
}
