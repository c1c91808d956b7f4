//! A program that runs beside a test and is ended with it.

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::poll::{Timeout, until};

/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// A child process with its output kept in a file. It is asked to end when the value is dropped, and killed
/// if it does not.
pub struct Running {
    child: Child,
    name: String,
    output: File,
}

/// A program that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("start {name}")]
pub struct StartError {
    name: String,
    #[source]
    cause: io::Error,
}

/// A program that ended before it was meant to, with all it said.
#[derive(Debug, thiserror::Error)]
#[error("{name} ended ({status}):\n{said}")]
pub struct Exit {
    name: String,
    status: ExitStatus,
    said: String,
}

impl Running {
    /// Starts a program; what it prints on either stream goes to one unnamed file.
    ///
    /// # Errors
    /// A program that is not there, or no place for its output.
    pub fn start(command: &mut Command) -> Result<Self, StartError> {
        let name = command.get_program().to_string_lossy().into_owned();
        let fail = |cause| StartError { name: name.clone(), cause };
        let output = tempfile::tempfile().map_err(fail)?;
        let streams = [output.try_clone().map_err(fail)?, output.try_clone().map_err(fail)?];
        let [out, err] = streams.map(Stdio::from);
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().map_err(fail)?;
        Ok(Running { child, name, output })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far.
    pub fn said(&self) -> String {
        let mut said = Vec::new();
        // The offset is shared with the child, which writes on: read through a descriptor opened anew.
        let read = File::open(format!("/proc/self/fd/{}", self.output.as_raw_fd()))
            .and_then(|mut file| file.read_to_end(&mut said));
        match read {
            Ok(_) => String::from_utf8_lossy(&said).into_owned(),
            Err(error) => format!("(its output cannot be read: {error})"),
        }
    }

    /// Waits for a condition while the program runs.
    ///
    /// # Errors
    /// [`Exit`] as soon as it has ended, [`Timeout`] when `limit` has passed; both as one boxed error, since a
    /// test only reports them.
    pub fn wait_until(
        &mut self,
        limit: Duration,
        what: &str,
        mut look: impl FnMut() -> bool,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let outcome = until(limit, what, || match self.child.try_wait() {
            Ok(Some(status)) => Some(Err(status)),
            _ => look().then_some(Ok(())),
        });
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => Err(Box::new(Exit { name: self.name.clone(), status, said: self.said() })),
            Err(timeout) => Err(format!("{timeout}; {} said:\n{}", self.name, self.said()).into()),
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// A process that has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        rustix::process::kill_process(pid, signal).map_err(io::Error::from)
    }

    /// Waits for it to end by itself or by a signal sent before.
    ///
    /// # Errors
    /// [`Timeout`] when it does not.
    pub fn ended(&mut self, limit: Duration) -> Result<ExitStatus, Timeout> {
        until(limit, &format!("{} to end", self.name), || self.child.try_wait().ok().flatten())
    }

    /// Kills it at once, as a power cut would.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_some() {
            return;
        }
        if self.signal(Signal::TERM).is_err() || self.ended(GRACE).is_err() {
            self.kill();
        }
    }
}

/// Ports that the kernel gives to nobody who asks for any: those below its default range.
const RESERVED: std::ops::Range<u16> = 20_000..32_768;

/// A port of the loopback that was free a moment ago, by TCP and by UDP, for programs that cannot choose one themselves. No
/// outgoing connection and no listener on port 0 takes it meanwhile.
///
/// # Errors
/// No port is free.
pub fn reserve_port() -> io::Result<u16> {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Processes begin at different places, so that those of one test run do not meet.
    let begin = std::process::id().wrapping_mul(977);
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in RESERVED {
        let number =
            begin.wrapping_add(TAKEN.fetch_add(1, Relaxed)) % u32::from(RESERVED.end - RESERVED.start);
        let port = RESERVED.start + u16::try_from(number).unwrap_or_default();
        let address = (Ipv4Addr::LOCALHOST, port);
        match TcpListener::bind(address).and_then(|_| UdpSocket::bind(address)) {
            Ok(_) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::Running;
    use std::process::Command;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn output_is_kept_and_the_child_goes_with_the_value() {
        let mut child =
            Running::start(Command::new("sh").args(["-c", "echo ready; exec sleep 100"])).unwrap();
        let pid = child.pid();
        crate::until(LIMIT, "its output", || child.said().contains("ready").then_some(())).unwrap();
        child.wait_until(LIMIT, "nothing", || true).unwrap();
        drop(child);
        assert!(!std::path::Path::new(&format!("/proc/{pid}/stat")).exists());
    }

    #[test]
    fn an_early_end_is_told_with_its_last_words() {
        let mut child = Running::start(Command::new("sh").args(["-c", "echo no such luck; exit 3"])).unwrap();
        let error = child.wait_until(LIMIT, "the impossible", || false).unwrap_err().to_string();
        assert!(error.contains("no such luck") && error.contains('3'), "{error}");
    }
}
