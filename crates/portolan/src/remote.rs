//! The daemon as the command line sees it: the client library, with errors that scripts can tell apart.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use client::{Address, Client, Error, Indexed};
use serde::de::DeserializeOwned;

use crate::cli::Global;
use crate::config::Node;
use crate::daemon::home;
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
    /// The one that `--api` names, else the environment, else the one on this host: by its Unix socket where
    /// there is one and we may, because then it knows who we are, else by Consul's port.
    pub(crate) fn new(global: &Global) -> Result<Remote> {
        let client = match (&global.api, local_socket()) {
            (Some(api), _) => api.parse().map(|at| Client::new(at).with_token_from_env()),
            (None, Some(socket)) => Ok(Client::new(Address::Unix(socket)).with_token_from_env()),
            (None, None) => Client::from_env(),
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

/// The socket of the daemon in the usual data directory, when it answers and nothing in the environment names
/// another daemon.
fn local_socket() -> Option<PathBuf> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if named("PORTOLAN_ADDR").or_else(|| named("CONSUL_HTTP_ADDR")).is_some() {
        return None;
    }
    let data_dir = named("PORTOLAN_NODE__DATA_DIR").map(PathBuf::from);
    let socket = home::socket(&data_dir.unwrap_or_else(|| Node::default().data_dir))?;
    UnixStream::connect(&socket).is_ok().then_some(socket)
}

/// What an error of the client library means to a script, and to a user.
pub(crate) fn meaning(error: &Error) -> (Exit, Option<&'static str>) {
    const START: &str = "start a daemon with `portolan dev`, or name another with --api or PORTOLAN_ADDR";
    const ALLOW: &str =
        "set PORTOLAN_TOKEN to an operator's token, or run this as the daemon's user or root on its host";
    match error {
        Error::Address { .. } => (Exit::Usage, None),
        Error::Connect { .. } => (Exit::Unreachable, Some(START)),
        Error::Exchange { .. } | Error::Timeout { .. } | Error::Dial { .. } | Error::NoInstance { .. } => {
            (Exit::Unreachable, None)
        }
        Error::Refused { status: 404, .. } => (Exit::NotFound, None),
        Error::Refused { status: 401 | 403, .. } => (Exit::Denied, Some(ALLOW)),
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
