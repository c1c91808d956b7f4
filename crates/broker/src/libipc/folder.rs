//! A folder in which libipc's services listen.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Generation;
use crate::uri::is_service_name;

/// How often somebody whose queue is full is tried again, and after which pause.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// A folder with the sockets of services.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) generation: Generation,
    /// Kept open between two lookups. Who makes the folder anew is noticed when a name is not found.
    opened: Arc<Mutex<Option<Arc<OwnedFd>>>>,
}

impl PartialEq for Folder {
    fn eq(&self, other: &Folder) -> bool {
        (&self.path, self.generation) == (&other.path, other.generation)
    }
}

impl Folder {
    pub(crate) fn new(path: PathBuf, generation: Generation) -> Folder {
        Folder { path, generation, opened: Arc::default() }
    }

    /// The socket of this name, held.
    fn hold(&self, name: &str) -> io::Result<OwnedFd> {
        let known = self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known
            && let Ok(held) = sys::pass::hold(known, name)
        {
            return Ok(held);
        }
        let opened = Arc::new(sys::pass::folder(&self.path)?);
        let held = sys::pass::hold(opened.clone(), name);
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        held
    }

    /// Connects to the service of this name; `None` when there is none. The connection does not block.
    ///
    /// The socket is held while it is connected to and links are not followed: the daemon may be root, and nobody
    /// shall lead it by a name to a socket that it was not meant to open.
    pub(crate) async fn connect(&self, name: &str) -> io::Result<Option<OwnedFd>> {
        if !is_service_name(name) || name == self.own_name() {
            return Ok(None);
        }
        let held = match self.hold(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            held => held?,
        };
        let mut tries = 0;
        loop {
            match sys::pass::connect_held(&held) {
                Ok(socket) => return Ok(Some(socket)),
                // A dead service leaves its socket behind.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Name of the broker's own socket there.
    pub(crate) fn own_name(&self) -> &'static str {
        match self.generation {
            Generation::C => "network",
            Generation::Zig => "ipc",
        }
    }

    /// The broker's own socket.
    pub(crate) fn own_socket(&self) -> PathBuf {
        self.path.join(self.own_name())
    }

    /// Makes the folder where it is missing, as the originals do.
    pub(crate) fn make(path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        match std::fs::DirBuilder::new().mode(0o1777).recursive(true).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }
}
