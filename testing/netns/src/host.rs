//! One host: a network namespace with a loopback and one Ethernet interface.

use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Failure, run};
use crate::leftovers::{self, NAMESPACES};

/// The one interface of every host.
const INTERFACE: &str = "eth0";

/// A host; gone with the value.
#[derive(Debug)]
pub struct Host {
    /// Its name in the lab.
    pub name: String,
    /// Its address on the switch.
    pub address: Ipv4Addr,
    namespace: String,
    door: Door,
    ip: PathBuf,
}

/// The way into a host, for threads that outlive a borrow of it.
#[derive(Debug, Clone)]
pub struct Door {
    name: String,
    namespace: Arc<File>,
}

impl Door {
    /// Moves the calling thread to the host for the rest of its life.
    ///
    /// # Panics
    /// When the namespace cannot be entered.
    #[allow(clippy::panic, reason = "the namespace was entered before: this is a failed test")]
    pub fn take_thread(&self) {
        let kind = Some(LinkNameSpaceType::Network);
        if let Err(cause) = move_into_link_name_space(self.namespace.as_fd(), kind) {
            panic!("enter the namespace of {}: {cause}", self.name);
        }
    }
}

impl Host {
    /// A host and the other end of its wire. `number` counts from 0 and decides both its addresses.
    pub(crate) fn new(ip: &Path, name: &str, number: u8) -> Result<(Host, OwnedFd), Failure> {
        let namespace = leftovers::name(name);
        run(ip, &["netns", "add", &namespace])?;
        let path = Path::new(NAMESPACES).join(&namespace);
        let file = File::open(&path).map_err(Failure::io(format!("open {}", path.display())))?;
        let door = Door { name: name.to_owned(), namespace: Arc::new(file) };
        let address = Ipv4Addr::new(10, 90, 0, number + 1);
        let host = Host { name: name.to_owned(), address, namespace, door, ip: ip.to_owned() };
        let wire = host.enter(|| sys::tap::open(INTERFACE)).map_err(Failure::io("make a TAP interface"))?;
        host.configure(number)?;
        Ok((host, wire))
    }

    fn configure(&self, number: u8) -> Result<(), Failure> {
        let Host { address, .. } = self;
        let [.., last] = hardware_address(number);
        self.ip(&format!(
            "link set lo up\n\
             link set {INTERFACE} address 02:00:00:00:00:{last:02x}\n\
             addr add {address}/24 dev {INTERFACE}\n\
             link set {INTERFACE} up\n\
             route add default dev {INTERFACE}\n"
        ))
    }

    /// Runs lines of `ip -batch` on this host.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, lines: &str) -> Result<(), Failure> {
        let fail = |said: String| Failure::Command { command: format!("ip -batch on {}", self.name), said };
        let mut child = Command::new(&self.ip)
            .args(["-netns", &self.namespace, "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|cause| fail(cause.to_string()))?;
        let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(lines.as_bytes()));
        let output = child.wait_with_output().map_err(|cause| fail(cause.to_string()))?;
        match output.status.success() && written.is_ok() {
            true => Ok(()),
            false => Err(fail(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }

    /// Does something on this host: sockets that it opens are this host's.
    ///
    /// # Panics
    /// When it does, or when the namespace cannot be entered.
    #[allow(clippy::panic, reason = "a panic inside is a panic of the test")]
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let outcome = thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.door.take_thread();
                    work()
                })
                .join()
        });
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// The way in.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// A command that runs on this host and dies with the thread that starts it, however that ends.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(&self.ip);
        command.args(["netns", "exec", &self.namespace, "setpriv", "--pdeathsig", "KILL", "--"]);
        command.arg(program.as_ref());
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The next run sweeps what could not be removed.
        let _ = run(&self.ip, &["netns", "del", &self.namespace]);
    }
}

/// Locally administered; the last byte says whose, so that the switch has nothing to learn.
pub(crate) fn hardware_address(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number + 1]
}
