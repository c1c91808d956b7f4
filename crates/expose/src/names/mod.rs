//! Public names: which are shown, and who is told.

mod exec;
mod http;
mod journal;
mod keep;
mod key;
mod server;
mod several;
mod shared;
mod transfer;
mod update;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

pub use exec::Exec;
pub use http::{Http, HttpConfig, ProviderError, TemplateError};
pub use keep::{Names, Shut, Targets};
pub use key::{KeyError, parse_key, read_key};
pub use server::{Config, Rfc2136};
pub use several::Several;
pub use update::{Owner, Rdata, ZoneError, fuzz_reply};

use crate::wish::NameKind;

/// A future that may be sent to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A name and the kind of its records.
pub type Key = (Arc<str>, NameKind);

/// Somebody who keeps public names for us.
pub trait Provider: Send + Sync {
    /// Makes the records of this name and kind exactly these. Never touches a name that is not ours.
    fn set<'a>(&'a self, key: &'a Key, values: &'a BTreeSet<Rdata>) -> BoxFuture<'a, Result<(), NameError>>;

    /// The same with a name that carries the mark of this other owner, which becomes ours.
    fn adopt<'a>(
        &'a self,
        _key: &'a Key,
        _values: &'a BTreeSet<Rdata>,
        from: &'a Owner,
    ) -> BoxFuture<'a, Result<(), NameError>> {
        Box::pin(std::future::ready(Err(NameError::Foreign(from.word().to_owned()))))
    }

    /// Which of several keepers a name is led to: of one that is silent no more is asked for a while.
    fn keeper(&self, _key: &Key) -> usize {
        0
    }

    /// Removes them, if they are ours.
    fn remove<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<(), NameError>>;
}

/// Why a name is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It exists and we did not make it.
    #[error("the name has records that are not ours (owner \"{0}\"); remove them, or choose another name")]
    Foreign(String),
    /// None of the zones that we may write.
    #[error("it is in none of the zones that are given")]
    Outside,
    /// The server said no.
    #[error("the server answered {0}")]
    Refused(String),
    /// The key is not taken.
    #[error(
        "the server does not take our signature ({0}): compare the key's name, its secret, and both clocks"
    )]
    Signature(String),
    /// The signature is good, and from another time.
    #[error("our clock is {apart_s} s {} the server's: set the wrong one right", if *is_ours_late { "behind" } else { "ahead of" })]
    Clock {
        /// Seconds between both.
        apart_s: u64,
        /// Ours is the earlier one.
        is_ours_late: bool,
    },
    /// No answer, or none that can be read.
    #[error("the server is not heard: {0}")]
    Silent(String),
}
