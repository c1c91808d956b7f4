//! The one place where a request is let through to its endpoint or not.

use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};

use crate::http::{Failure, Peer};
use crate::inputs::{Access, Mode};
use crate::routes::Needs;

/// Who asks, as far as that is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller<'a> {
    pub(super) peer: Peer,
    pub(super) headers: &'a HeaderMap,
    /// Users that may change everything through the Unix socket, beside root and the daemon's own.
    pub(super) operators: &'a [u32],
}

/// Judges what a request needs. Reads are for whoever reaches a listener; a listener beyond loopback is only
/// there because the configuration says so in words.
///
/// # Errors
/// 403 with what to do about it.
pub(super) fn check(access: &dyn Access, needs: Needs, caller: Caller<'_>) -> Result<(), Failure> {
    let mode = access.mode();
    if mode == Mode::Open || !matches!(needs, Needs::Write(_)) {
        return Ok(());
    }
    let Err(why) = may_write(access, caller) else { return Ok(()) };
    if mode == Mode::Observe {
        tracing::info!(peer = ?caller.peer, ?needs, why, "would be refused if the rules were enforced");
        return Ok(());
    }
    Err(Failure::new(StatusCode::FORBIDDEN, format!("Permission denied: {why}")))
}

fn may_write(access: &dyn Access, caller: Caller<'_>) -> Result<(), &'static str> {
    if let Some(token) = token(caller.headers) {
        return match access.is_operator(token) {
            true => Ok(()),
            false => Err("this token is not known here"),
        };
    }
    match caller.peer {
        Peer::Unix { uid: Some(uid) } if is_local_operator(uid, caller.operators) => Ok(()),
        Peer::Unix { .. } => {
            Err("this user may not change anything here: show an operator's token (X-Consul-Token or \
             Authorization: Bearer), or name the user in api.operators")
        }
        Peer::Tcp(_) => Err(
            "show an operator's token (X-Consul-Token or Authorization: Bearer), or ask through the Unix \
             socket as the user that the daemon runs as",
        ),
    }
}

fn is_local_operator(uid: u32, operators: &[u32]) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw() || operators.contains(&uid)
}

/// The token that was shown: Consul's field, else a bearer's (RFC 6750 section 2.1). An empty one is none, as
/// clients with an unset variable send it.
fn token(headers: &HeaderMap) -> Option<&str> {
    let consul = headers.get("x-consul-token").and_then(|value| value.to_str().ok());
    let bearer = || {
        let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    };
    consul.filter(|token| !token.is_empty()).or_else(bearer).map(str::trim).filter(|token| !token.is_empty())
}
