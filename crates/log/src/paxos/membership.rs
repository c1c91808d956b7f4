//! Changing who votes, from any node: asked of the leader until it is in force, or for too long.

use std::time::Duration;

use paxos::{Configuration, Driver, Identity, ServerId, Unfit};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// A change that has not come into force in this time is given up; it may come into force all the same.
const PATIENCE_MS: u64 = 30_000;
/// How often it is asked again.
const AGAIN_MS: u64 = 100;

/// One step from one set of voting servers to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    Add(Identity),
    Remove(ServerId),
}

/// Why the voting servers are not, or not yet, what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ChangeError {
    /// No leader is known.
    #[error("no leader is known: fewer than a majority of the servers can reach each other")]
    NoLeader,
    /// Another change is under way.
    #[error("another change of the servers is under way")]
    Pending,
    /// Too few or too many would be left.
    #[error("{0} servers cannot take over from the present ones")]
    Members(usize),
    /// The server is not connected to the leader, or lacks state.
    #[error("server {0} is not ready to take part: it is not connected, or still fetching state")]
    NotReady(ServerId),
    /// A server of that number speaks from another disk than the one that was admitted.
    #[error("server {0} speaks from another disk than the one that is to be added")]
    OtherDisk(ServerId),
    /// Too few of the new servers are connected.
    #[error("fewer than a majority of the new servers are connected")]
    NoMajority,
    /// It took too long.
    #[error("it is not in force after {waited_s} s: {last}")]
    TimedOut {
        /// How long it was tried.
        waited_s: u64,
        /// What stood in the way last.
        last: String,
    },
    /// The engine stopped.
    #[error("the log has stopped: {0}")]
    Stopped(String),
}

impl ChangeError {
    /// Whether it may be otherwise in a moment.
    fn may_pass(&self) -> bool {
        !matches!(self, Self::Members(_) | Self::OtherDisk(_) | Self::Stopped(_))
    }
}

impl Change {
    /// Whether a configuration is as this change wants it.
    fn holds_in(self, configuration: &Configuration) -> bool {
        match self {
            Self::Add(identity) => configuration.disk_of(identity.server) == Some(identity.disk),
            Self::Remove(server) => !configuration.contains(server),
        }
    }

    fn apply(self, configuration: &Configuration) -> Vec<ServerId> {
        let mut servers: Vec<ServerId> = configuration.servers().collect();
        match self {
            Self::Add(identity) => servers.push(identity.server),
            Self::Remove(server) => servers.retain(|member| *member != server),
        }
        servers.sort_unstable();
        servers.dedup();
        servers
    }

    /// Proposes it, as the leader.
    ///
    /// # Errors
    /// Why not; nothing has changed.
    pub(crate) fn propose(self, driver: &mut Driver, me: Identity) -> Result<(), ChangeError> {
        let configuration = driver.status().configuration.ok_or(ChangeError::NoLeader)?;
        if self.holds_in(&configuration) {
            return Ok(());
        }
        if let Self::Add(Identity { server, disk }) = self {
            if configuration.contains(server) {
                return Err(ChangeError::OtherDisk(server));
            }
            let present = if server == me.server { Some(me.disk) } else { driver.disk_of(server) };
            match present {
                None => return Err(ChangeError::NotReady(server)),
                Some(present) if present != disk => return Err(ChangeError::OtherDisk(server)),
                Some(_) => {}
            }
        }
        driver.handle_reconfigure(self.apply(&configuration)).map_err(|unfit| match unfit {
            Unfit::NotLeader(_) => ChangeError::NoLeader,
            Unfit::Pending => ChangeError::Pending,
            Unfit::Members(count) => ChangeError::Members(count),
            Unfit::NotReady(server) => ChangeError::NotReady(server),
            Unfit::NoMajority => ChangeError::NoMajority,
        })
    }
}

struct Waiting {
    change: Change,
    done: oneshot::Sender<Result<(), ChangeError>>,
    since_ms: u64,
    asked_ms: Option<u64>,
    last: Option<ChangeError>,
}

/// Changes that somebody here waits for.
#[derive(Default)]
pub(crate) struct Changes(Vec<Waiting>);

impl Changes {
    pub(crate) fn add(
        &mut self,
        change: Change,
        done: oneshot::Sender<Result<(), ChangeError>>,
        now_ms: u64,
    ) {
        self.0.push(Waiting { change, done, since_ms: now_ms, asked_ms: None, last: None });
    }

    /// A leader said why not.
    pub(crate) fn refused(&mut self, change: Change, why: &ChangeError) {
        for waiting in self.0.iter_mut().filter(|waiting| waiting.change == change) {
            waiting.last = Some(why.clone());
        }
    }

    /// Tells who waits what is known by now; answers what is to be asked (again).
    pub(crate) fn advance(&mut self, present: Option<&Configuration>, now_ms: u64) -> Vec<Change> {
        let mut ask = Vec::new();
        for mut waiting in std::mem::take(&mut self.0) {
            let verdict = waiting.verdict(present, now_ms);
            if let Some(verdict) = verdict {
                // Who asked may have lost interest.
                drop(waiting.done.send(verdict));
                continue;
            }
            if waiting.asked_ms.is_none_or(|asked| asked + AGAIN_MS <= now_ms) {
                waiting.asked_ms = Some(now_ms);
                ask.push(waiting.change);
            }
            self.0.push(waiting);
        }
        ask
    }

    pub(crate) fn stop(&mut self, reason: &str) {
        for waiting in self.0.drain(..) {
            drop(waiting.done.send(Err(ChangeError::Stopped(reason.to_owned()))));
        }
    }
}

impl Waiting {
    fn verdict(&self, present: Option<&Configuration>, now_ms: u64) -> Option<Result<(), ChangeError>> {
        if present.is_some_and(|present| self.change.holds_in(present)) {
            return Some(Ok(()));
        }
        if let Some(last) = self.last.as_ref().filter(|last| !last.may_pass()) {
            return Some(Err(last.clone()));
        }
        let late = now_ms.saturating_sub(self.since_ms) > PATIENCE_MS;
        late.then(|| {
            let last = self.last.as_ref().map_or_else(|| "nobody answered".to_owned(), ToString::to_string);
            Err(ChangeError::TimedOut { waited_s: Duration::from_millis(PATIENCE_MS).as_secs(), last })
        })
    }
}
