//! Sessions.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{GoDuration, Text};

/// Numbers below this are seconds, others nanoseconds: early clients sent `15`.
const FEWEST_NANOSECONDS: u128 = 1000;

/// Body of `PUT /v1/session/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SessionRequest {
    /// Node that it stands and falls with; the one asked when empty.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub node: Text,
    /// For people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Text,
    /// How long its keys cannot be locked after it ended; 15 s when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_delay: Option<GoDuration>,
    /// `release` or `delete`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub behavior: Text,
    /// Must be renewed within this time; for ever when empty.
    #[serde(rename = "TTL", skip_serializing_if = "str::is_empty")]
    pub ttl: Text,
    /// Checks that it is bound to, under the name of old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<Text>>,
    /// Checks of the node that it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_checks: Option<Vec<Text>>,
    /// Checks of instances that it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_checks: Option<Vec<SessionCheck>>,
}

/// A check of an instance that a session is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SessionCheck {
    /// Check id.
    #[serde(rename = "ID")]
    pub id: Text,
    /// Always empty here.
    pub namespace: Text,
}

/// Answer of `PUT /v1/session/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionCreated {
    /// Session id, a UUID.
    #[serde(rename = "ID")]
    pub id: Text,
}

/// A session, as `session/*` lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SessionEntry {
    /// Session id, a UUID.
    #[serde(rename = "ID")]
    pub id: Text,
    /// For people.
    pub name: Text,
    /// Node that it stands and falls with.
    pub node: Text,
    /// Lock delay in nanoseconds.
    pub lock_delay: u64,
    /// `release` or `delete`.
    pub behavior: Text,
    /// Term; empty when it need not be renewed.
    #[serde(rename = "TTL")]
    pub ttl: Text,
    /// Checks of the node that it is bound to.
    pub node_checks: Vec<Text>,
    /// Checks of instances that it is bound to; `null` when there are none.
    pub service_checks: Option<Vec<SessionCheck>>,
    /// Index of its creation.
    pub create_index: u64,
    /// The same.
    pub modify_index: u64,
}

impl SessionRequest {
    /// The lock delay with Consul's default, and with small numbers read as seconds.
    pub fn lock_delay(&self) -> Duration {
        match self.lock_delay.map(|delay| delay.0) {
            None => Duration::from_secs(15),
            Some(delay) if delay.as_nanos() < FEWEST_NANOSECONDS => {
                Duration::from_secs(u64::try_from(delay.as_nanos()).unwrap_or(0))
            }
            Some(delay) => delay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_delay_is_text_or_seconds_or_nanoseconds() {
        let delay = |json: &str| {
            crate::decode::<SessionRequest>(json.as_bytes()).expect("reads").lock_delay().as_millis()
        };
        assert_eq!(delay("{}"), 15_000);
        assert_eq!(delay(r#"{"LockDelay": "2s"}"#), 2_000);
        assert_eq!(delay(r#"{"lock_delay": 20}"#), 20_000);
        assert_eq!(delay(r#"{"LockDelay": 5000000000}"#), 5_000);
        assert_eq!(delay(r#"{"LockDelay": 0}"#), 0);
    }
}
