//! A program that registers and sends heartbeats.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Length of a request on the wire: the name, padded with NUL.
const REQUEST: usize = 256;
/// Longest answer that is read.
const MAX_ANSWER: u64 = 512;
/// Longest that one try may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Tries before a server that cannot be reached is given up.
const TRIES: u32 = 3;
/// Wait before the second try; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Why the registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry cannot be reached, or breaks off.
    #[error("{asked} at {registry}")]
    Io {
        /// What was asked.
        asked: String,
        /// Where.
        registry: SocketAddr,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The name does not fit into a request.
    #[error("\"{name}\" is longer than a request of {REQUEST} bytes")]
    TooLong {
        /// The name.
        name: String,
    },
    /// The registry refused to register.
    #[error("register \"{name}\": {reason}")]
    Refused {
        /// The name.
        name: String,
        /// The registry's own words.
        reason: String,
    },
    /// The registry does not know the service (any more): register again.
    #[error("heartbeat of \"{name}\": the registry does not know it (any more); register it again")]
    NotRegistered {
        /// The name.
        name: String,
    },
    /// The answer is not one of this protocol.
    #[error("{asked}: the answer {answer:?} is none of NetSel's")]
    Strange {
        /// What was asked.
        asked: String,
        /// What came.
        answer: String,
    },
}

/// A client of a registry for one service. Clones are equal; dropping one deregisters nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceClient {
    registry: SocketAddr,
    hostname: String,
}

impl ServiceClient {
    /// A client for the service `hostname` at the registry. Nothing is sent yet.
    pub fn new(registry: SocketAddr, hostname: String) -> ServiceClient {
        ServiceClient { registry, hostname }
    }

    /// Registers the service; returns the address that it is known by and the port that it is expected to
    /// listen on, at the address that it calls from. A registry that cannot be reached is tried three times.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn register(&self) -> Result<(IpAddr, u16), Error> {
        let answer = self.ask(&self.hostname, &format!("register \"{}\"", self.hostname)).await?;
        let parts: Vec<_> = answer.split('|').collect();
        match parts[..] {
            ["SUCCESS", ip, port, _, ..] => match (ip.parse(), port.parse()) {
                (Ok(ip), Ok(port)) => Ok((ip, port)),
                _ => Err(self.strange("register", &answer)),
            },
            ["FAILED", ..] => {
                let reason = answer.trim_start_matches("FAILED").trim_start_matches('|').to_owned();
                Err(Error::Refused { name: self.hostname.clone(), reason })
            }
            _ => Err(self.strange("register", &answer)),
        }
    }

    /// Says that the service lives. The answer is read, unlike in the original: a service that the registry
    /// has forgotten learns of it here.
    ///
    /// # Errors
    /// [`Error`]; [`Error::NotRegistered`] means: register again.
    pub async fn send_heartbeat(&self) -> Result<(), Error> {
        let asked = format!("heartbeat of \"{}\"", self.hostname);
        let answer = self.ask(&format!("HEARTBEAT|{}", self.hostname), &asked).await?;
        match answer.as_str() {
            "HEARTBEAT_OK" => Ok(()),
            "HEARTBEAT_FAILED" => Err(Error::NotRegistered { name: self.hostname.clone() }),
            _ => Err(self.strange("heartbeat", &answer)),
        }
    }

    /// Where the service is and how long ago it was last heard of; `None` when the registry does not know
    /// it. Not in the original, which had no way to ask.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn look_up(&self) -> Result<Option<(SocketAddr, Duration)>, Error> {
        let asked = format!("look up \"{}\"", self.hostname);
        let answer = self.ask(&format!("LOOKUP|{}", self.hostname), &asked).await?;
        let parts: Vec<_> = answer.split('|').collect();
        match parts[..] {
            ["NOT_FOUND"] => Ok(None),
            ["FOUND", ip, port, age] => match (ip.parse::<IpAddr>(), port.parse::<u16>(), age.parse()) {
                (Ok(ip), Ok(port), Ok(age)) => Ok(Some(((ip, port).into(), Duration::from_millis(age)))),
                _ => Err(self.strange("look up", &answer)),
            },
            _ => Err(self.strange("look up", &answer)),
        }
    }

    fn strange(&self, what: &str, answer: &str) -> Error {
        Error::Strange { asked: format!("{what} \"{}\"", self.hostname), answer: answer.into() }
    }

    async fn ask(&self, request: &str, asked: &str) -> Result<String, Error> {
        if request.len() > REQUEST {
            return Err(Error::TooLong { name: self.hostname.clone() });
        }
        let mut bytes = request.as_bytes().to_vec();
        bytes.resize(REQUEST, 0);
        let mut wait = FIRST_WAIT;
        for _ in 1..TRIES {
            if let Ok(answer) = self.exchange(&bytes).await {
                return Ok(answer);
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        let failed = |cause| Error::Io { asked: asked.into(), registry: self.registry, cause };
        self.exchange(&bytes).await.map_err(failed)
    }

    async fn exchange(&self, request: &[u8]) -> io::Result<String> {
        let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
        tokio::time::timeout(TIMEOUT, self.exchange_unbounded(request)).await.map_err(timed_out)?
    }

    async fn exchange_unbounded(&self, request: &[u8]) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.registry).await?;
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        if answer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = answer.iter().position(|byte| *byte == 0).unwrap_or(answer.len());
        Ok(String::from_utf8_lossy(&answer[..end]).into_owned())
    }
}
