//! Keeping an instance registered.

use std::sync::Arc;
use std::time::Duration;

use consul::register::ServiceRegistration;
use tokio::sync::{oneshot, watch};

use crate::retry::{Backoff, jittered};
use crate::{Client, Error, Status};

/// Longest that the guard's own task tries to deregister after the guard was dropped.
const FAREWELL: Duration = Duration::from_secs(5);
/// Time between two looks at a registration without a lease: the daemon may have forgotten it.
const LOOK: Duration = Duration::from_secs(10);
/// Tries of an explicit deregistration.
const TRIES: usize = 4;

/// Whether the registration holds, as far as the guard knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The last renewal was taken.
    Registered,
    /// The daemon cannot be reached or does not take it; tried again and again.
    Retrying {
        /// The last error.
        cause: Arc<str>,
    },
}

/// A registered instance. As long as this lives it is renewed, and registered again when the daemon lost it
/// (a restart without a disk, a lease that ran out while this program was stopped).
///
/// Dropping it deregisters in the background, as well as that goes: a runtime that is shutting down runs no
/// more tasks, and then the lease runs out instead. [`Registration::deregister`] waits and tells.
#[derive(Debug)]
#[must_use = "dropping a registration deregisters it"]
pub struct Registration {
    client: Client,
    id: Arc<str>,
    check_id: Option<Arc<str>>,
    state: watch::Receiver<State>,
    /// Dropped: leave quietly. Sent: leave and answer.
    leave: Option<oneshot::Sender<oneshot::Sender<Result<(), Error>>>>,
}

/// Starts to keep what was just registered.
pub(crate) fn keep(client: Client, registration: ServiceRegistration, lease: Duration) -> Registration {
    let (sender, state) = watch::channel(State::Registered);
    let (leave, left) = oneshot::channel();
    let id = registration.id.clone();
    let ttl = registration.checks.iter().enumerate().find(|(_, check)| !check.ttl.is_zero());
    let check_id = ttl.map(|(at, check)| match (check.any_id().is_empty(), registration.checks.len()) {
        (false, _) => check.any_id().clone(),
        (true, 1) => format!("service:{id}").into(),
        (true, _) => format!("service:{id}:{}", at + 1).into(),
    });
    let beat = if lease.is_zero() { LOOK } else { lease / 6 };
    let keeper = Keeper { client: client.clone(), registration, beat, state: sender };
    tokio::spawn(keeper.run(left));
    Registration { client, id, check_id, state, leave: Some(leave) }
}

impl Registration {
    /// The instance's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it holds; the receiver sees every change.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Reports on its TTL check. Without one this is an error of the kind [`Error::is_not_found`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn report(&self, status: Status, output: &str) -> Result<(), Error> {
        let check = self.check_id.clone().unwrap_or_else(|| format!("service:{}", self.id).into());
        self.client.report(&check, status, output).await
    }

    /// Deregisters it and waits until the daemon has it so.
    ///
    /// # Errors
    /// [`Error`] after some tries; the lease will run out then.
    pub async fn deregister(mut self) -> Result<(), Error> {
        let gone = || Error::ShuttingDown { id: self.id.to_string() };
        let (answer, answered) = oneshot::channel();
        let leave = self.leave.take().ok_or_else(gone)?;
        leave.send(answer).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

struct Keeper {
    client: Client,
    registration: ServiceRegistration,
    beat: Duration,
    state: watch::Sender<State>,
}

impl Keeper {
    async fn run(self, mut left: oneshot::Receiver<oneshot::Sender<Result<(), Error>>>) {
        let mut backoff = Backoff::up_to(self.beat);
        let mut wait = jittered(self.beat);
        let answer = loop {
            let turn = async {
                tokio::time::sleep(wait).await;
                self.renew().await
            };
            let result = tokio::select! {
                biased;
                answer = &mut left => break answer.ok(),
                result = turn => result,
            };
            wait = self.note(result, &mut backoff);
        };
        match answer {
            Some(answer) => {
                // Whoever asked may have gone meanwhile; deregistered it is all the same.
                let _ = answer.send(self.deregister().await);
            }
            None => {
                if let Ok(Err(cause)) = tokio::time::timeout(FAREWELL, self.deregister()).await {
                    tracing::warn!(id = %self.registration.id, error = %cause, "not deregistered; the lease will run out");
                }
            }
        }
    }

    /// Renews; registers again when the daemon does not know it.
    async fn renew(&self) -> Result<(), Error> {
        match self.client.renew(&self.registration.id).await {
            Err(error) if error.is_not_found() => {
                tracing::info!(id = %self.registration.id, "the daemon lost this registration; registering again");
                self.client.register(&self.registration).await
            }
            result => result.map(drop),
        }
    }

    /// Publishes what came of a turn; returns how long to wait for the next.
    fn note(&self, result: Result<(), Error>, backoff: &mut Backoff) -> Duration {
        let (state, wait) = match result {
            Ok(()) => {
                backoff.reset();
                (State::Registered, jittered(self.beat))
            }
            Err(error) => {
                tracing::warn!(id = %self.registration.id, error = %chain(&error), "not renewed; trying again");
                (State::Retrying { cause: chain(&error).into() }, backoff.wait())
            }
        };
        self.state.send_if_modified(|known| {
            let differs = *known != state;
            *known = state;
            differs
        });
        wait
    }

    async fn deregister(&self) -> Result<(), Error> {
        let mut backoff = Backoff::up_to(Duration::from_secs(1));
        let mut result = self.client.deregister(&self.registration.id).await;
        for _ in 1..TRIES {
            match &result {
                Err(error) if error.is_temporary() => tokio::time::sleep(backoff.wait()).await,
                _ => break,
            }
            result = self.client.deregister(&self.registration.id).await;
        }
        result
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
