//! The daemon as the command line sees it: the client library, with errors that scripts can tell apart.

use std::time::Duration;

use anyhow::anyhow;
use client::{Client, Error, Indexed};
use serde::de::DeserializeOwned;

use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};
use crate::progress;

/// Longest that one blocking query waits.
const WAIT: Duration = Duration::from_secs(60);

/// A daemon.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    pub(crate) client: Client,
    timeout: Duration,
    quiet: bool,
}

impl Remote {
    /// The one that `--api` names, else the environment, else the one on this host.
    pub(crate) fn new(global: &Global) -> Result<Remote> {
        let client = match &global.api {
            Some(api) => api.parse().map(Client::new),
            None => Client::from_env(),
        };
        let client = client.map_err(|cause| Failure::new(Exit::Usage, cause))?;
        Ok(Remote { client, timeout: global.timeout, quiet: global.quiet })
    }

    /// `GET`, read as JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Indexed<T>> {
        self.bounded(self.client.get(path)).await
    }

    /// The same as a blocking query: answers once the index is past `seen`, or after a minute.
    pub(crate) async fn get_after<T: DeserializeOwned>(&self, path: &str, seen: u64) -> Result<Indexed<T>> {
        self.client.get_after(path, seen, WAIT).await.map_err(Failure::from)
    }

    /// Anything else that the client can do, within `--timeout`.
    pub(crate) async fn bounded<T>(
        &self,
        call: impl Future<Output = std::result::Result<T, Error>>,
    ) -> Result<T> {
        let what = format!("waiting for the daemon at {}", self.client.address());
        let call = tokio::time::timeout(self.timeout, call);
        match progress::on_terminal(&what, self.quiet, call).await {
            Ok(done) => done.map_err(Failure::from),
            Err(_) => {
                let cause = anyhow!("{}: no answer within {:?}", self.client.address(), self.timeout);
                Err(Failure::new(Exit::Unreachable, cause).advise("wait longer with --timeout"))
            }
        }
    }
}

/// What an error of the client library means to a script, and to a user.
pub(crate) fn meaning(error: &Error) -> (Exit, Option<&'static str>) {
    const START: &str = "start a daemon with `portolan dev`, or name another with --api or PORTOLAN_ADDR";
    match error {
        Error::Address { .. } => (Exit::Usage, None),
        Error::Connect { .. } => (Exit::Unreachable, Some(START)),
        Error::Exchange { .. } | Error::Timeout { .. } | Error::Dial { .. } | Error::NoInstance { .. } => {
            (Exit::Unreachable, None)
        }
        Error::Refused { status: 404, .. } => (Exit::NotFound, None),
        Error::Refused { status: 401 | 403, .. } => (Exit::Denied, None),
        Error::Refused { status: 400, .. } => (Exit::Usage, None),
        _ => (Exit::Failure, None),
    }
}

/// A name, id or key as part of a path (RFC 3986 section 3.3). Slashes stay: keys are made of them.
pub(crate) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_slashes() {
        assert_eq!(encoded("a/b c?ü"), "a/b%20c%3F%C3%BC");
    }
}
