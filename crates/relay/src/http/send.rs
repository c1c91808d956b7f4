//! One request to one of a service's endpoints.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use route::{Backend, Permit};

use super::attempt::{Call, Lost};
use super::body::{Body, BodyError};
use super::connect::Upgraded;
use super::outgoing::{Outgoing, Store};
use crate::dial::{Attempt, Unreachable, show};
use crate::local::Local;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The answer; its body holds the connection and the balancer's count until it has ended.
    pub response: Response<Body>,
    /// The connection, when the endpoint switched protocols (status 101).
    pub upgraded: Option<Upgraded>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum SendError {
    /// No endpoint could be reached; nothing was sent, or nothing that counts.
    Unreachable(Unreachable),
    /// An endpoint was reached and failed. The request may have had effects there.
    Failed {
        /// Which one.
        endpoint: String,
        /// How.
        cause: BodyError,
    },
    /// An endpoint was reached and did not begin to answer in time.
    TimedOut {
        /// Which one.
        endpoint: String,
        /// How long it had.
        after: Duration,
    },
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Unreachable(unreachable) => unreachable.fmt(f),
            SendError::Failed { endpoint, cause } => {
                write!(f, "send a request to {endpoint}: {}", chain(&**cause))
            }
            SendError::TimedOut { endpoint, after } => {
                write!(f, "send a request to {endpoint}: no answer within {} s", after.as_secs_f32())
            }
        }
    }
}

impl std::error::Error for SendError {}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(cause) = at {
        text = format!("{text}: {cause}");
        at = cause.source();
    }
    text
}

/// Sends a request to an endpoint of `backend`; to another when nothing was sent, or when the connection
/// broke before an answer and the request may be repeated.
///
/// # Errors
/// See [`SendError`].
pub async fn send(
    local: &Rc<Local>,
    backend: &Arc<Backend>,
    permit: &Permit,
    outgoing: Outgoing,
) -> Result<Answer, SendError> {
    let call = Call { local, backend, permit };
    let most = outgoing.attempts.unwrap_or(local.config().attempts).max(1);
    let key = outgoing.key;
    let mut store = Store::new(outgoing);
    let mut tried = Vec::new();
    let mut attempts = Vec::new();
    let mut disliked = None;
    let is_last = |tried: &[usize]| tried.len() + 1 >= backend.endpoints.len();
    while attempts.len() < most
        && let Some((at, flight)) = local.pick(backend, &tried, key)
    {
        if !attempts.is_empty() {
            local.metrics().retries.inc();
        }
        let endpoint = || show(&backend.endpoints[at].target);
        match call.attempt(at, &mut store, flight).await {
            Ok(answer) => return Ok(answer),
            Err(Lost::Sent(cause)) => return Err(SendError::Failed { endpoint: endpoint(), cause }),
            Err(Lost::Silent(after)) => return Err(SendError::TimedOut { endpoint: endpoint(), after }),
            Err(Lost::Unsent(cause)) => attempts.push(Attempt { endpoint: endpoint(), cause }),
            Err(Lost::Broke(cause)) => {
                attempts.push(Attempt { endpoint: endpoint(), cause });
                if attempts.len() == most || is_last(&tried) || !local.may_repeat(backend) {
                    break;
                }
            }
            Err(Lost::Disliked(answer)) => {
                if attempts.len() + 1 == most || is_last(&tried) || !local.may_repeat(backend) {
                    return Ok(*answer);
                }
                let cause = io::Error::other(format!("it answered {}", answer.response.status()));
                attempts.push(Attempt { endpoint: endpoint(), cause });
                disliked = Some(answer);
            }
        }
        tried.push(at);
    }
    // An answer that nobody likes is better than none.
    if let Some(answer) = disliked {
        return Ok(*answer);
    }
    Err(SendError::Unreachable(Unreachable { service: backend.service.clone(), attempts }))
}
