//! Nobody locks himself out: a firewall of our own is on trial until somebody who still reaches the host says that it
//! may stay.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use state::Failure;

/// What the operator has said: whole, never a difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// These rules may stay.
    pub is_given: bool,
    /// How often a trial was asked for.
    pub trials: u64,
}

/// What a report attempts while there is a trial.
pub const ON_TRIAL: &str = "keep our table as this host's firewall";
/// The same after one that nobody confirmed.
const IS_OVER: &str = "be this host's firewall";

/// Where it stands. Time is an argument.
#[derive(Debug)]
pub(super) struct Trial {
    within: Duration,
    consent: Consent,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// No rule was made yet.
    Unborn,
    /// Until then.
    Tried(Instant),
    Stays,
    /// Nobody said a word.
    Over,
}

impl Trial {
    pub(super) fn new(within: Duration) -> Trial {
        Trial { within, consent: Consent::default(), state: State::Unborn }
    }

    /// The operator has spoken.
    pub(super) fn handle_consent(&mut self, consent: Consent, now: Instant) {
        let asked = consent.trials > self.consent.trials;
        self.consent = consent;
        match self.state {
            State::Unborn => {}
            _ if consent.is_given => self.state = State::Stays,
            State::Stays | State::Over if asked => self.state = State::Tried(now + self.within),
            State::Tried(_) | State::Stays | State::Over => {}
        }
    }

    /// Rules are about to be made: whether they may be.
    pub(super) fn handle_rules(&mut self, now: Instant) -> bool {
        match self.state {
            State::Unborn if self.consent.is_given => self.state = State::Stays,
            State::Unborn => self.state = State::Tried(now + self.within),
            State::Tried(until) if until <= now => self.state = State::Over,
            State::Tried(_) | State::Stays | State::Over => {}
        }
        self.state != State::Over
    }

    /// When it is over, unless somebody speaks.
    pub(super) fn until(&self) -> Option<Instant> {
        if let State::Tried(until) = self.state { Some(until) } else { None }
    }

    /// True when the rules outlive us.
    pub(super) fn stays(&self) -> bool {
        self.state == State::Stays
    }

    /// For the report.
    pub(super) fn failure(&self) -> Option<Failure> {
        let (attempted, cause) = match self.state {
            State::Unborn | State::Stays => return None,
            State::Tried(_) => {
                let within_s = self.within.as_secs();
                let hint = "from a new session, say `portolan firewall confirm`";
                (ON_TRIAL, format!("it is on trial and goes {within_s} s after it came; {hint}"))
            }
            State::Over => (
                IS_OVER,
                "nobody confirmed it, so it is gone; `portolan firewall try` makes it once more".to_owned(),
            ),
        };
        Some(Failure { attempted: attempted.to_owned(), cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(60);

    #[test]
    fn rules_that_nobody_confirms_go_and_are_tried_again_when_that_is_asked() {
        let (mut trial, begun) = (Trial::new(WITHIN), Instant::now());
        assert_eq!(trial.failure(), None);
        assert!(trial.handle_rules(begun));
        assert_eq!(trial.until(), Some(begun + WITHIN));
        assert!(trial.handle_rules(begun + WITHIN / 2) && !trial.stays());
        assert!(!trial.handle_rules(begun + WITHIN));
        assert!(trial.failure().is_some_and(|failure| failure.cause.contains("portolan firewall try")));
        assert!(!trial.handle_rules(begun + 2 * WITHIN), "not by itself");
        trial.handle_consent(Consent { is_given: false, trials: 1 }, begun + 2 * WITHIN);
        assert!(trial.handle_rules(begun + 2 * WITHIN));
        trial.handle_consent(Consent { is_given: true, trials: 1 }, begun + 2 * WITHIN);
        assert!(trial.handle_rules(begun + 9 * WITHIN) && trial.stays());
        assert_eq!((trial.failure(), trial.until()), (None, None));
    }

    #[test]
    fn what_was_confirmed_before_is_not_tried() {
        let (mut trial, begun) = (Trial::new(WITHIN), Instant::now());
        trial.handle_consent(Consent { is_given: true, trials: 0 }, begun);
        assert!(trial.handle_rules(begun) && trial.stays());
    }
}
