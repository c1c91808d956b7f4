//! How a command ends: a stable code for scripts, a chain of causes and what to do for people.

use std::fmt::Write as _;

use serde_json::json;

use crate::config::LoadError;
use crate::remote;

/// Exit codes. They never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It failed.
    Failure = 1,
    /// The command line or the configuration cannot be meant.
    Usage = 2,
    /// What was asked for does not exist.
    NotFound = 3,
    /// Not allowed.
    Denied = 4,
    /// The daemon, or the service, does not answer.
    Unreachable = 5,
    /// Some of it was done.
    Partial = 6,
}

/// A command that did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) cause: anyhow::Error,
    /// What the user can do about it.
    pub(crate) advice: Option<String>,
}

/// What a command answers.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, cause: impl Into<anyhow::Error>) -> Failure {
        Failure { exit, cause: cause.into(), advice: None }
    }

    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Failure {
        self.advice = Some(advice.into());
        self
    }

    /// For people: the chain once, then what to do.
    pub(crate) fn render(&self, color: bool) -> String {
        let (red, plain) = if color { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        let mut text = format!("{red}error{plain}: {}", self.cause);
        for cause in self.cause.chain().skip(1) {
            let _ = write!(text, "\n  because: {cause}");
        }
        if let Some(advice) = &self.advice {
            let _ = write!(text, "\n  try: {advice}");
        }
        text
    }

    /// For machines.
    pub(crate) fn data(&self) -> serde_json::Value {
        let causes: Vec<_> = self.cause.chain().skip(1).map(ToString::to_string).collect();
        json!({
            "error": self.cause.to_string(),
            "causes": causes,
            "advice": self.advice,
            "exit": self.exit as u8,
        })
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(cause: E) -> Failure {
        let cause = cause.into();
        if let Some(error) = cause.downcast_ref::<client::Error>() {
            let (exit, advice) = remote::meaning(error);
            return Failure { exit, advice: advice.map(str::to_owned), cause };
        }
        let exit = if cause.is::<LoadError>() { Exit::Usage } else { Exit::Failure };
        Failure::new(exit, cause)
    }
}
