//! The one place where a request is let through to its endpoint or not.

use route::Mode;

use crate::http::Failure;
use crate::routes::Needs;

/// Judges what an endpoint needs.
///
/// # Errors
/// 403 once there is a mode that refuses anything.
pub(super) fn check(mode: Mode, needs: Needs) -> Result<(), Failure> {
    match (mode, needs) {
        (Mode::Open, Needs::Nothing | Needs::Read(_) | Needs::Write(_)) => Ok(()),
    }
}
