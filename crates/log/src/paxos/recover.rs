//! A server whose only fellow voter is lost for good goes on without it.

use paxos::{Disk as _, NotWhole};

use super::take_over::open_records;
use super::{Config, ServerId};
use crate::{Index, LogError};

/// How the order goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoesOn {
    /// Last index that is decided.
    pub last: Index,
    /// Who votes from now on.
    pub voters: Vec<ServerId>,
}

/// Why it does not.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The disk holds less than the whole order, or needs no help.
    #[error(transparent)]
    NotWhole(#[from] NotWhole),
    /// The disk's.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Makes the order in `config.dir` one that needs the other of its two voters, `lost`, no more; nobody else may have it open. To
/// be done on one of the two only, and when the other will never come back as it was. Should it come back all the same,
/// it finds that the order went on, and follows.
///
/// # Errors
/// [`RecoverError`], with nothing changed.
pub fn go_on_without(config: &Config, lost: ServerId) -> Result<GoesOn, RecoverError> {
    let mut found = open_records(&config.dir, config)?;
    let (batch, configuration) = found.image.without(lost)?;
    found.records.persist(&batch)?;
    found.records.seal()?;
    drop(found);
    let last = open_records(&config.dir, config)?.image.have();
    Ok(GoesOn { last, voters: configuration.servers().collect() })
}
