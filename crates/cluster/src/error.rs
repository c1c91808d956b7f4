//! What can go wrong around the cluster's identity.

use std::io;
use std::path::PathBuf;

use crate::token::TokenError;

/// Why something about the cluster could not be done: what was attempted, and the cause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{attempted} {path}", path = path.display())]
    File {
        /// "read", "write", …
        attempted: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file is not what it should be.
    #[error("read {path}: {reason}", path = path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The data directory belongs to a cluster already.
    #[error(
        "{path} holds the identity of node \"{node}\" of cluster {cluster} already; use another data directory, or remove that one's folder \"cluster\" if the node is to forget it",
        path = path.display()
    )]
    Belongs {
        /// The data directory.
        path: PathBuf,
        /// Node name in it.
        node: String,
        /// Cluster id in it.
        cluster: String,
    },
    /// No identity yet.
    #[error("{path} holds no identity of a cluster; run `portolan init` on the first host, `portolan join TOKEN` on others", path = path.display())]
    NoIdentity {
        /// The data directory.
        path: PathBuf,
    },
    /// A key or certificate could not be made or used.
    #[error("{attempted}: {reason}")]
    Crypto {
        /// What was attempted.
        attempted: &'static str,
        /// Why not.
        reason: String,
    },
    /// The root's key is not here.
    #[error(
        "{attempted}: the root's key is not on this host ({path} is missing, or of a root that does not sign any more); do it on a server that has it, or put the file back for the time",
        path = path.display()
    )]
    NoRootKey {
        /// What was attempted.
        attempted: &'static str,
        /// Where the key would be.
        path: PathBuf,
    },
    /// Not a server.
    #[error("{attempted}: node \"{node}\" is an agent, and only servers sign certificates")]
    NotServer {
        /// What was attempted.
        attempted: &'static str,
        /// Node name.
        node: String,
    },
    /// A join token that cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Nobody answered.
    #[error("{attempted}: none of the addresses answered: {reasons}")]
    Unreachable {
        /// What was attempted.
        attempted: &'static str,
        /// Address and cause, one after another.
        reasons: String,
    },
    /// The server said no.
    #[error("{attempted}: the cluster refused: {reason}")]
    Refused {
        /// What was attempted.
        attempted: &'static str,
        /// What it said.
        reason: String,
    },
    /// The other side spoke in a way that this version does not understand.
    #[error("{attempted}: {reason}")]
    Protocol {
        /// What was attempted.
        attempted: &'static str,
        /// What was wrong.
        reason: String,
    },
    /// The order did not take a command.
    #[error("{attempted}")]
    Submit {
        /// What was attempted.
        attempted: &'static str,
        /// Why not.
        #[source]
        cause: store::SubmitError,
    },
    /// A name that cannot be a node's.
    #[error(transparent)]
    Invalid(#[from] catalog::validate::Invalid),
}

pub(crate) fn crypto(attempted: &'static str) -> impl Fn(rcgen::Error) -> Error {
    move |cause| Error::Crypto { attempted, reason: cause.to_string() }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
