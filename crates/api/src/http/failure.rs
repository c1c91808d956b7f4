//! Why a request has no good answer: a status and a sentence.

use std::error::Error;

use catalog::{AclRefusal, Refusal};
use http::StatusCode;
use log::LogError;
use store::SubmitError;

use crate::http::Malformed;

/// A status with what to tell the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// Methods for the `Allow` field of a 405.
    pub(crate) allow: Option<String>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Failure {
        Failure { status, message: message.into(), allow: None }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, message)
    }

    /// Part of Consul's API that is not here.
    pub(crate) fn absent(what: &str) -> Failure {
        Failure::new(StatusCode::NOT_IMPLEMENTED, format!("{what} not supported by this server"))
    }

    /// Consul's answer when another datacenter is asked for.
    pub(crate) fn no_datacenter() -> Failure {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "No path to datacenter")
    }
}

impl From<SubmitError> for Failure {
    fn from(error: SubmitError) -> Failure {
        let status = match &error {
            SubmitError::Refused(refusal) => return refusal.clone().into(),
            SubmitError::Log(cause) => match **cause {
                LogError::Full { .. } => StatusCode::SERVICE_UNAVAILABLE,
                // Consul's words, which clients look for.
                LogError::NoMajority { .. } => {
                    let message = format!("No cluster leader: {cause}");
                    return Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message);
                }
                LogError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
            SubmitError::Closed | SubmitError::Undecided { .. } => StatusCode::SERVICE_UNAVAILABLE,
            SubmitError::TooNew { .. } => StatusCode::CONFLICT,
            SubmitError::Encode(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure::new(status, chain(&error))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let status = match refusal {
            Refusal::UnknownRule(_)
            | Refusal::UnknownNode(_)
            | Refusal::UnknownInstance { .. }
            | Refusal::UnknownCheck { .. } => StatusCode::NOT_FOUND,
            Refusal::CasFailed { .. }
            | Refusal::RegisteredAgain { .. }
            | Refusal::ClaimedAgain { .. }
            | Refusal::Locked { .. }
            | Refusal::LockDelay
            | Refusal::NotHeld
            | Refusal::RolledBack(_)
            | Refusal::RuleChanged { .. }
            | Refusal::RedirectionCircle { .. }
            | Refusal::TooManyRules { .. }
            | Refusal::Cluster(_) => StatusCode::CONFLICT,
            // What Consul answers, whoever is to blame.
            Refusal::UnknownSession(_) | Refusal::CriticalCheck { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Refusal::Acl(AclRefusal::Bootstrapped { .. } | AclRefusal::WrongReset { .. }) => {
                StatusCode::FORBIDDEN
            }
            Refusal::Acl(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Refusal::UnknownQuery(_) | Refusal::QueryName { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Refusal::Archive(_) | Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
        };
        Failure::new(status, refusal.to_string())
    }
}

impl From<Malformed> for Failure {
    fn from(error: Malformed) -> Failure {
        Failure::bad_request(format!("Bad request: {error}"))
    }
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
