//! What would be denied, in the log: once a minute for each who, by what and to what, so that a busy service does
//! not fill the disk.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use catalog::Intention;
use route::{Principal, Witness};

/// How long the same is not said again.
const QUIET: Duration = Duration::from_secs(60);
/// Most that is remembered; beyond it nothing is said until some of it is old.
const MOST: usize = 4096;

/// Writes to the log.
#[derive(Debug, Default)]
pub(crate) struct LogWitness(Mutex<HashMap<String, Instant>>);

impl LogWitness {
    /// True when this was not said lately.
    fn is_news(&self, what: String) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if said.len() >= MOST {
            said.retain(|_, when| now - *when < QUIET);
        }
        if said.len() >= MOST || said.get(&what).is_some_and(|when| now - *when < QUIET) {
            return false;
        }
        said.insert(what, now);
        true
    }
}

impl Witness for LogWitness {
    fn would_deny(&self, principal: &Principal, scheme: &str, service: &str, rule: Option<&Intention>) {
        if !self.is_news(format!("{principal} {scheme} {service}")) {
            return;
        }
        let rule = rule.map_or_else(|| "no rule allows it".to_owned(), ToString::to_string);
        tracing::info!(%principal, scheme, service, rule, "would be denied if the rules were enforced");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once() {
        let witness = LogWitness::default();
        assert!(witness.is_news("a".into()));
        assert!(!witness.is_news("a".into()));
        assert!(witness.is_news("b".into()));
        assert!((0..2 * MOST).any(|number| !witness.is_news(number.to_string())), "a bound");
        assert!(witness.0.lock().unwrap().len() <= MOST);
    }
}
