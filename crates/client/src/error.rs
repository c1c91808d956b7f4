//! What can go wrong: what was attempted, on what, and why not.

use std::io;
use std::time::Duration;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not an address of a daemon.
    #[error("\"{text}\" is no address of a daemon: {why}")]
    Address {
        /// As given.
        text: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// The daemon cannot be reached.
    #[error("connect to the daemon at {address}")]
    Connect {
        /// Where it should be.
        address: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The connection to the daemon broke.
    #[error("{request}")]
    Exchange {
        /// Method and path.
        request: String,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The daemon did not answer in time.
    #[error("{request}: no answer within {after:?}")]
    Timeout {
        /// Method and path.
        request: String,
        /// The limit.
        after: Duration,
    },
    /// The daemon answered with an error.
    #[error("{request}: {status} {message}")]
    Refused {
        /// Method and path.
        request: String,
        /// HTTP status code.
        status: u16,
        /// The daemon's own words.
        message: String,
    },
    /// A value cannot be written as JSON, or the answer is not the JSON that was expected.
    #[error("{request}: JSON")]
    Json {
        /// Method and path.
        request: String,
        /// Why.
        #[source]
        cause: serde_json::Error,
    },
    /// No instance of the service may get traffic.
    #[error("no passing instance of \"{service}\" with a port")]
    NoInstance {
        /// Service name.
        service: String,
    },
    /// No instance of the service could be connected to.
    #[error("connect to \"{service}\": {}", attempts.join("; "))]
    Dial {
        /// Service name.
        service: String,
        /// Each address with why it failed.
        attempts: Vec<String>,
    },
    /// The runtime is going away, and this registration with it.
    #[error("deregister \"{id}\": the runtime is shutting down")]
    ShuttingDown {
        /// Instance id.
        id: String,
    },
}

impl Error {
    /// True when the daemon says that what was named is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Refused { status: 404, .. })
    }

    /// True when the same call may succeed later without any change to it.
    pub fn is_temporary(&self) -> bool {
        match self {
            Error::Connect { .. } | Error::Exchange { .. } | Error::Timeout { .. } => true,
            Error::Refused { status, .. } => *status >= 500 || *status == 429,
            Error::NoInstance { .. } | Error::Dial { .. } => true,
            Error::Address { .. } | Error::Json { .. } | Error::ShuttingDown { .. } => false,
        }
    }
}
