//! What the service manager that started this daemon is told of its life (sd_notify(3)), where one asks to be.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// Names the socket; a leading `@` stands for the abstract namespace.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// The way to the service manager. Without one every word goes nowhere.
#[derive(Debug)]
pub(crate) struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
}

impl Notify {
    /// As the environment says. A socket that cannot be used is logged and then done without.
    pub(crate) fn from_env() -> Notify {
        let wanted = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
        let socket = wanted.and_then(|name| match open(name.as_bytes(), Path::new(&name)) {
            Ok(socket) => Some(socket),
            Err(cause) => {
                tracing::warn!(error = %cause, "{VARIABLE} names no socket that can be written to");
                None
            }
        });
        Notify { socket }
    }

    /// Everything answers; `status` is shown to people.
    pub(crate) fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is being read again, or the node starts again within this process: until it is ready.
    pub(crate) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let us = now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={us}"));
    }

    /// It drains, and then ends.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=draining");
    }

    fn say(&self, words: &str) {
        let Some((socket, to)) = &self.socket else { return };
        if let Err(cause) = socket.send_to_addr(words.as_bytes(), to) {
            tracing::warn!(error = %cause, "could not tell the service manager");
        }
    }
}

fn open(name: &[u8], path: &Path) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    Ok((UnixDatagram::unbound()?, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(by: &UnixDatagram) -> String {
        let mut bytes = [0; 200];
        let length = by.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn words_reach_a_socket_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let hidden = format!("portolan-notify-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(hidden.as_bytes()).unwrap()).unwrap();
        for (name, listener) in
            [(path.to_str().unwrap().to_owned(), by_path), (format!("@{hidden}"), by_name)]
        {
            let notify = Notify { socket: Some(open(name.as_bytes(), Path::new(&name)).unwrap()) };
            notify.ready("serving");
            assert_eq!(heard(&listener), "READY=1\nSTATUS=serving");
            notify.reloading();
            assert!(heard(&listener).starts_with("RELOADING=1\nMONOTONIC_USEC="));
        }
    }

    #[test]
    fn a_manager_that_is_gone_ends_nothing() {
        let notify = Notify { socket: Some(open(b"/nowhere/notify", Path::new("/nowhere/notify")).unwrap()) };
        notify.stopping();
        Notify { socket: None }.stopping();
    }
}
