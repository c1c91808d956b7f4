//! The sockets where programs ask, taken before anything else happens.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::config::Config;

/// A socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The kernel says no.
    #[error("listen for local programs on {path}; `broker.socket` in the configuration moves it")]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A setting is wrong.
    #[error("broker.socket_mode: {0}")]
    Mode(String),
}

/// Listening sockets, with where they are.
#[derive(Debug, Default)]
pub struct Listeners {
    sockets: Vec<(PathBuf, OwnedFd)>,
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
        match &config.socket {
            Some(path) if path.as_os_str().is_empty() => Ok(Listeners::default()),
            Some(path) => {
                let socket = sys::pass::listen_seqpacket(path, mode)
                    .map_err(|cause| BindError::Socket { path: path.clone(), cause })?;
                Ok(Listeners { sockets: vec![(path.clone(), socket)] })
            }
            None => Ok(default_socket().and_then(|path| usual(path, mode)).unwrap_or_default()),
        }
    }

    /// Adds a socket that somebody else has bound: systemd, for one.
    pub fn add(&mut self, path: PathBuf, socket: OwnedFd) {
        self.sockets.push((path, socket));
    }

    /// Where programs ask.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.sockets.iter().map(|(path, _)| path.as_path())
    }

    pub(crate) fn into_sockets(self) -> impl Iterator<Item = (PathBuf, OwnedFd)> {
        self.sockets.into_iter()
    }
}

fn usual(path: PathBuf, mode: u32) -> Option<Listeners> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    match made.and_then(|()| sys::pass::listen_seqpacket(&path, mode)) {
        Ok(socket) => Some(Listeners { sockets: vec![(path, socket)] }),
        Err(cause) => {
            let path = path.display();
            tracing::info!(%path, %cause, "no broker socket; `broker.socket` names another place");
            None
        }
    }
}
