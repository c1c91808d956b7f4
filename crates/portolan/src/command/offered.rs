//! A command's Unix socket as a service of the broker's: `portolan run NAME --listen --unix`. The command opens no port, and
//! neither does anybody for it but the daemon, which asks the rules about everybody who comes by its own.

use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use client::broker::Broker;

use super::connect::meaning;
use crate::exit::{Exit, Failure, Result};

/// A socket that is offered for as long as this lives.
pub(crate) struct Offered {
    _broker: Broker,
    _folder: Folder,
    pub(crate) listener: UnixListener,
    pub(crate) instance: String,
}

/// A folder of our own, gone with the value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left there is a socket that nobody listens on.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Offered {
    /// Listens where only this user and root come to, and offers that as `name`.
    ///
    /// # Errors
    /// There is no broker, or it refuses.
    pub(crate) fn begin(name: &str) -> Result<Offered> {
        let nobody = || Failure::new(Exit::Unreachable, anyhow!("no broker is to be found on this host"));
        let broker = Broker::find().ok_or_else(nobody)?;
        let folder = folder().context("make a folder for the socket")?;
        let path = folder.0.join("socket");
        let listener = UnixListener::bind(&path).with_context(|| format!("listen on {}", path.display()))?;
        let (offered, _) = broker.offer(name, Some(listener.as_fd())).map_err(meaning)?;
        Ok(Offered { _broker: broker, _folder: folder, listener, instance: offered.instance.to_string() })
    }
}

fn folder() -> std::io::Result<Folder> {
    let above = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
    let above = above.unwrap_or_else(std::env::temp_dir);
    let number = (std::process::id(), fastrand::u64(..));
    let path = above.join(format!("portolan-run-{}-{:016x}", number.0, number.1));
    std::fs::DirBuilder::new().mode(0o700).create(&path)?;
    Ok(Folder(path))
}
