//! Sockets that the service manager opened for this daemon (sd_listen_fds(3)): programs can ask before the daemon
//! runs, and while it starts anew.
//!
//! By the name that the unit gives them (`FileDescriptorName=`): `broker` is the socket of local programs, `api` is
//! where HTTP is spoken, TCP or Unix. Where there is one, it stands for what the configuration says of that.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::OnceLock;

use sys::pass::Found;

use crate::config::Config;

/// Kept for as long as the process lives: the node in it may start again.
static TAKEN: OnceLock<Vec<(Role, OwnedFd)>> = OnceLock::new();

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Broker,
    Tcp,
    Unix,
}

/// The sockets for one life of the node.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    /// Where local programs ask.
    pub(crate) broker: Vec<OwnedFd>,
    /// Where HTTP is spoken.
    pub(crate) tcp: Vec<TcpListener>,
    /// The same, within this host.
    pub(crate) unix: Vec<UnixListener>,
}

/// Takes what there is for this process. Whoever embeds a node has sockets of its own, so only the daemon calls this.
pub(crate) fn take() {
    let known =
        sys::activation::inherited().into_iter().filter_map(|(name, socket)| match role(&name, &socket) {
            Ok(role) => Some((role, socket)),
            Err(why) => {
                tracing::warn!(name, why, "a socket of the service manager's is not used");
                None
            }
        });
    // Nothing is handed over a second time.
    let _ = TAKEN.set(known.collect());
}

/// A unit's own name stands for the name that was not given.
fn role(name: &str, socket: &OwnedFd) -> Result<Role, String> {
    let word = name.strip_suffix(".socket").unwrap_or(name);
    let word = word.strip_prefix("portolan-").unwrap_or(word);
    let found = sys::pass::found(socket).map_err(|error| error.to_string())?;
    match (word, found) {
        ("broker", Found::Packets(_)) => Ok(Role::Broker),
        ("broker", _) => {
            Err("the broker listens for packets: ListenSequentialPacket= in the unit".to_owned())
        }
        ("api", Found::Tcp(_)) => Ok(Role::Tcp),
        ("api", Found::Unix(_)) => Ok(Role::Unix),
        ("api", _) => Err("HTTP is spoken on streams: ListenStream= in the unit".to_owned()),
        _ => Err("its name (FileDescriptorName= in the unit) is neither `broker` nor `api`".to_owned()),
    }
}

/// What was taken, for a node that starts.
///
/// # Errors
/// No descriptors left.
pub(crate) fn sockets() -> io::Result<Handed> {
    let mut handed = Handed::default();
    for (role, socket) in TAKEN.get().into_iter().flatten() {
        sys::pass::set_blocking(socket.as_fd(), false)?;
        let socket = socket.try_clone()?;
        match role {
            Role::Broker => handed.broker.push(socket),
            Role::Tcp => handed.tcp.push(socket.into()),
            Role::Unix => handed.unix.push(socket.into()),
        }
    }
    Ok(handed)
}

impl Handed {
    /// Where the HTTP API is, for who asks whether that is beyond loopback.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.tcp.iter().map(TcpListener::local_addr).collect()
    }

    /// The configuration without what these sockets stand for.
    pub(crate) fn instead(&self, mut config: Config) -> Config {
        if !self.broker.is_empty() {
            config.broker.socket = Some(PathBuf::new());
        }
        if !self.tcp.is_empty() {
            config.api.listen.clear();
        }
        if !self.unix.is_empty() {
            config.api.socket = Some(PathBuf::new());
        }
        config
    }
}
