//! Time as an argument. Only [`system`] looks at the host's clock.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time in Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

pub(crate) const SECOND_MS: u64 = 1000;
pub(crate) const HOUR_MS: u64 = 3600 * SECOND_MS;
pub(crate) const DAY_MS: u64 = 24 * HOUR_MS;
pub(crate) const YEAR_MS: u64 = 365 * DAY_MS;

/// The host's clock.
pub fn system() -> Clock {
    Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64)
}

/// Adds milliseconds, backwards too.
pub(crate) fn shifted(time_ms: u64, by_ms: i64) -> u64 {
    time_ms.saturating_add_signed(by_ms)
}
