//! What must hold, whatever happens.

use bytes::Bytes;
use paxos::{Configuration, Index};

use crate::app::{App, extend_digest};

/// What went wrong, in words.
pub(crate) type Violation = String;

/// The one history that every server must show, and how much of it somebody was promised.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    history: Vec<Bytes>,
    digests: Vec<u64>,
    configurations: Vec<Configuration>,
    /// Highest index that a client has seen, by an acknowledgement or by a read. A read that begins now must
    /// show at least this.
    pub(crate) floor: Index,
}

impl Oracle {
    /// Length of the history.
    pub(crate) fn len(&self) -> Index {
        self.history.len() as Index
    }

    /// Agreement: a server was handed a command at an index.
    pub(crate) fn decided(&mut self, who: usize, index: Index, command: &Bytes) -> Result<(), Violation> {
        let at = index as usize - 1;
        match self.history.get(at) {
            Some(known) if known == command => Ok(()),
            Some(_) => Err(format!("agreement: server {who} was handed another command at index {index}")),
            None if at == self.history.len() => {
                let digest = self.digests.last().copied().unwrap_or_default();
                self.digests.push(extend_digest(digest, command));
                self.history.push(command.clone());
                Ok(())
            }
            None => Err(format!(
                "agreement: server {who} was handed index {index}, and nobody was handed {}",
                self.history.len() + 1
            )),
        }
    }

    /// Agreement: a server's state stands for a prefix of the history.
    pub(crate) fn state(&self, who: usize, app: &App) -> Result<(), Violation> {
        let expected = match app.applied {
            0 => Some(0),
            index => self.digests.get(index as usize - 1).copied(),
        };
        if expected == Some(app.digest) {
            return Ok(());
        }
        Err(format!("agreement: the state of server {who} at index {} is not that history's", app.applied))
    }

    /// Agreement on who takes part, and from which index on.
    pub(crate) fn configured(&mut self, who: usize, configuration: &Configuration) -> Result<(), Violation> {
        match self.configurations.iter().find(|known| known.id == configuration.id) {
            None => self.configurations.push(configuration.clone()),
            Some(known) if known == configuration => {}
            Some(known) => {
                return Err(format!("agreement: server {who} took up {configuration:?}, others {known:?}"));
            }
        }
        Ok(())
    }

    /// A read that began when the floor was `floor` is answered from a state at `applied`.
    pub(crate) fn read(&mut self, who: usize, floor: Index, applied: Index) -> Result<(), Violation> {
        self.floor = self.floor.max(applied);
        if applied >= floor {
            return Ok(());
        }
        Err(format!("stale read: server {who} answered at index {applied}, {floor} was acknowledged before"))
    }
}
