//! The daemon as the command line sees it: the client library, with errors that scripts can tell apart.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use client::{Address, Client, Error, Indexed};
use serde::Serialize;
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
        Ok(Remote::at(global, client))
    }

    /// The daemon that was named, or that has this data directory; none when nobody named one and none answers.
    pub(crate) fn named(global: &Global, data_dir: &Path) -> Result<Option<Remote>> {
        if global.api.is_some() || is_named_in_environment() {
            return Remote::new(global).map(Some);
        }
        let Some(socket) = home::socket(data_dir).filter(|socket| answers(socket)) else { return Ok(None) };
        let client = Client::new(Address::Unix(socket)).with_token_from_env();
        Ok(Some(Remote::at(global, client)))
    }

    /// The one that this client speaks to.
    pub(crate) fn at(global: &Global, client: Client) -> Remote {
        Remote { client, timeout: global.timeout, quiet: global.quiet }
    }

    /// The one that a Consul command line means: `-http-addr`, else CONSUL_HTTP_ADDR, else Consul's port here.
    pub(crate) fn as_consul(address: Option<&str>, token: Option<&str>) -> Result<Remote> {
        let client = match address.filter(|address| !address.is_empty()) {
            Some(address) => address.parse().map(|at| Client::new(at).with_token_from_env()),
            None => Client::from_env(),
        };
        let client = client.map_err(|cause| Failure::new(Exit::Usage, cause))?;
        let client = match token {
            Some(token) => client.with_token(token),
            None => client,
        };
        Ok(Remote { client, timeout: Duration::from_secs(60), quiet: true })
    }

    /// `PUT` of bytes; the answer as it is.
    pub(crate) async fn send(&self, path: &str, body: Vec<u8>) -> Result<bytes::Bytes> {
        self.bounded(self.client.put_bytes(path, body, self.timeout)).await
    }

    /// Waits for something within `--timeout`.
    pub(crate) async fn until<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T> {
        let what = format!("waiting for {what}");
        let work = tokio::time::timeout(self.timeout, work);
        progress::on_terminal(&what, self.quiet, work).await.map_err(|_| {
            let cause = anyhow!("gave up {what} after {:?}", self.timeout);
            Failure::new(Exit::Unreachable, cause).advise("wait longer with --timeout, or look into its log")
        })
    }

    /// `GET`, read as JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Indexed<T>> {
        self.bounded(self.client.get(path)).await
    }

    /// The same as a blocking query: answers once the index is past `seen`, or after a minute.
    pub(crate) async fn get_after<T: DeserializeOwned>(&self, path: &str, seen: u64) -> Result<Indexed<T>> {
        self.client.get_after(path, seen, WAIT).await.map_err(Failure::from)
    }

    /// `PUT` of JSON, answered by JSON.
    pub(crate) async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.bounded(self.client.put(path, body, self.timeout)).await
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
    if is_named_in_environment() {
        return None;
    }
    let data_dir = std::env::var_os("PORTOLAN_NODE__DATA_DIR").filter(|dir| !dir.is_empty());
    let data_dir = data_dir.map_or_else(|| Node::default().data_dir, PathBuf::from);
    home::socket(&data_dir).filter(|socket| answers(socket))
}

/// True when the environment names a daemon's API.
pub(crate) fn is_named_in_environment() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    ["PORTOLAN_ADDR", "CONSUL_HTTP_ADDR"].into_iter().any(is_set)
}

fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

/// What an error of the client library means to a script, and to a user.
pub(crate) fn meaning(error: &Error) -> (Exit, Option<&'static str>) {
    const START: &str = "start a daemon with `portolan dev`, or name another with --api or PORTOLAN_ADDR";
    const ALLOW: &str =
        "set PORTOLAN_TOKEN to an operator's token, or run this as the daemon's user or root on its host";
    const BEGIN: &str =
        "`portolan init` begins a cluster, and with it asking for tokens; an open node asks for none";
    match error {
        Error::Address { .. } => (Exit::Usage, None),
        Error::Connect { .. } => (Exit::Unreachable, Some(START)),
        Error::Exchange { .. } | Error::Timeout { .. } | Error::Dial { .. } | Error::NoInstance { .. } => {
            (Exit::Unreachable, None)
        }
        Error::Refused { status: 404, .. } => (Exit::NotFound, None),
        Error::Refused { message, .. } if message.contains("ACL support disabled") => {
            (Exit::Denied, Some(BEGIN))
        }
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
