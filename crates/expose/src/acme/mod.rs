//! Certificates for public names, by ACME (RFC 8555).
//!
//! [`key`] is the account's key and what it signs, [`talk`] the signed conversation with its nonces, [`order`] the
//! way from names to a certificate, [`validity`] when one ends, [`store`] the files, [`keep`] what is done when.
//!
//! Written by hand over what is in the tree already (hyper, ring, rcgen): a client from elsewhere brings a second
//! HTTP client or twenty crates for what is six requests. What is absent: external account binding, revocation,
//! and change of the account's key.

mod keep;
mod key;
mod order;
mod settings;
mod store;
mod talk;
mod validity;

use crate::http::HttpError;
use crate::names::NameError;

pub(crate) use keep::now;
pub use keep::{Certified, Inputs, Proofs, Standing, run};
pub use settings::{Acme, Challenge};
pub use validity::{Validity, fuzz_validity, validity};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The authority is not heard.
    #[error("the authority is not heard")]
    Silent(#[from] HttpError),
    /// It said no.
    #[error("the authority says no: {said} ({kind})")]
    Refused {
        /// Its own words.
        said: String,
        /// The last part of the problem's type, RFC 8555 section 6.7: `rateLimited`, `unauthorized`.
        kind: String,
        /// How long it asks us to wait, in seconds.
        after: Option<u64>,
    },
    /// It could not convince itself that a name is ours.
    #[error("the authority cannot verify {name}: {said}")]
    Unproven {
        /// Which name.
        name: String,
        /// Its own words.
        said: String,
    },
    /// What it said is not what the protocol says.
    #[error("the authority's answer has no {0}")]
    Odd(&'static str),
    /// It offers no way that we can go.
    #[error("the authority offers no {wanted} for {name}")]
    Way {
        /// Which way.
        wanted: &'static str,
        /// For which name.
        name: String,
    },
    /// It took longer than anybody should wait.
    #[error("the authority did not come to an end within {0} s")]
    Slow(u64),
    /// A proof could not be shown.
    #[error("show the proof for {name} in the DNS")]
    Dns {
        /// For which name.
        name: String,
        /// Why.
        #[source]
        cause: NameError,
    },
    /// Keys, requests or certificates that cannot be made or used.
    #[error("{attempted}: {why}")]
    Crypto {
        /// What was attempted.
        attempted: &'static str,
        /// Why it failed.
        why: String,
    },
    /// A file.
    #[error("{attempted} {}", path.display())]
    File {
        /// What was attempted.
        attempted: &'static str,
        /// On what.
        path: std::path::PathBuf,
        /// Why it failed.
        #[source]
        cause: std::io::Error,
    },
}

impl AcmeError {
    /// How long the authority asks to be left alone.
    fn after(&self) -> Option<std::time::Duration> {
        match self {
            AcmeError::Refused { after: Some(seconds), .. } => Some(std::time::Duration::from_secs(*seconds)),
            _ => None,
        }
    }
}

fn crypto(attempted: &'static str, why: impl ToString) -> AcmeError {
    AcmeError::Crypto { attempted, why: why.to_string() }
}
