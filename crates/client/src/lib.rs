//! What a Rust program links to be found and to find others: register with a guard, watch, resolve,
//! connect, keep keys. It speaks Consul's HTTP API to the daemon on the same host, by TCP or Unix socket.
//!
//! ```no_run
//! use portolan_client::{Check, Client, Service};
//!
//! # async fn example() -> Result<(), portolan_client::Error> {
//! let client = Client::from_env()?;
//! let registration = Service::new("web")
//!     .port(8080)
//!     .tag("v1")
//!     .meta("owner", "shop")
//!     .check(Check::http("http://127.0.0.1:8080/health"))
//!     .register(&client)
//!     .await?;
//!
//! let mut stream = client.connect("db").await?;
//! // … talk to the database …
//!
//! registration.deregister().await
//! # }
//! ```
//!
//! Where to look: what is registered in `service`, keeping it registered in `registration`, finding others
//! in `discovery`, connections as descriptors in [`broker`], keys in `kv`, messages in `topic`, the wire in `http`.
//!
//! What is absent: no cache beside the list that a watch handed out last, no TLS (the daemon is on this
//! host), no balancing beyond a weighted shuffle (the proxies do that).

mod address;
pub mod broker;
mod discovery;
mod error;
mod http;
mod kv;
mod registration;
mod retry;
mod service;
mod topic;

use std::sync::Arc;
use std::time::Duration;

use ::http::Method;

pub use address::Address;
pub use discovery::{Instance, Watch};
pub use error::Error;
pub use http::Indexed;
pub use kv::{Key, Kv};
pub use registration::{Registration, State};
pub use service::{Check, Service};
pub use topic::{Message, Producer, Subscription};

use http::{Call, Transport};

/// Health of an instance or a check, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Works.
    Passing,
    /// Works, with a complaint.
    Warning,
    /// Does not work.
    Critical,
}

impl Status {
    /// Consul's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Passing => "passing",
            Status::Warning => "warning",
            Status::Critical => "critical",
        }
    }

    /// Reads Consul's word; what is no such word counts as critical.
    fn of(word: &str) -> Status {
        match word {
            "passing" => Status::Passing,
            "warning" => Status::Warning,
            _ => Status::Critical,
        }
    }
}

/// A client of one daemon. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Arc<Transport>,
}

impl Client {
    /// A client of the daemon at `address`. Nothing is sent yet.
    pub fn new(address: Address) -> Client {
        Client { transport: Arc::new(Transport::new(address, None)) }
    }

    /// The same with a token for every request.
    #[must_use]
    pub fn with_token(self, token: impl Into<String>) -> Client {
        let address = self.transport.address().clone();
        Client { transport: Arc::new(Transport::new(address, Some(token.into()))) }
    }

    /// A client as the environment says: the address in `PORTOLAN_ADDR`, else in Consul's
    /// `CONSUL_HTTP_ADDR`, else 127.0.0.1:8500; the token in `PORTOLAN_TOKEN`, else `CONSUL_HTTP_TOKEN`.
    ///
    /// # Errors
    /// [`Error::Address`] when the address in the environment is none.
    pub fn from_env() -> Result<Client, Error> {
        let client = match from_env(["PORTOLAN_ADDR", "CONSUL_HTTP_ADDR"]) {
            Some(text) => Client::new(text.parse()?),
            None => Client::new(Address::default()),
        };
        Ok(client.with_token_from_env())
    }

    /// The same with the token that the environment has, if any: `PORTOLAN_TOKEN`, else `CONSUL_HTTP_TOKEN`.
    #[must_use]
    pub fn with_token_from_env(self) -> Client {
        match from_env(["PORTOLAN_TOKEN", "CONSUL_HTTP_TOKEN"]) {
            Some(token) => self.with_token(token),
            None => self,
        }
    }

    /// Where the daemon is.
    pub fn address(&self) -> &Address {
        self.transport.address()
    }

    /// Reports on a TTL check: its term starts anew, and its status is this from now on.
    ///
    /// # Errors
    /// [`Error`]; [`Error::is_not_found`] when there is no such check.
    pub async fn report(&self, check_id: &str, status: Status, output: &str) -> Result<(), Error> {
        let update = consul::register::CheckUpdate { status: status.as_str().into(), output: output.into() };
        let path = format!("/v1/agent/check/update/{}", http::escape(check_id));
        self.transport.call(Call::put(&path).json(&update)?).await.map(drop)
    }

    /// Any `GET` of the API whose answer is JSON, for what has no method here. `path` begins with `/v1/`
    /// and is escaped already.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Indexed<T>, Error> {
        self.transport.call(Call::new(Method::GET, path)).await?.json()
    }

    /// Any `PUT` with a JSON body whose answer is JSON; see [`Client::get`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn put<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
        limit: Duration,
    ) -> Result<T, Error> {
        let call = Call::put(path).json(body)?.within(limit).once();
        let answer = self.transport.call(call).await?;
        Ok(answer.json()?.value)
    }

    /// Any `GET` whose answer is bytes, of which there may be `longest`; see [`Client::get`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_bytes(
        &self,
        path: &str,
        longest: usize,
        limit: Duration,
    ) -> Result<Indexed<bytes::Bytes>, Error> {
        let call = Call::new(Method::GET, path).within(limit).at_most(longest);
        let answer = self.transport.call(call).await?;
        Ok(Indexed { value: answer.body, index: answer.index })
    }

    /// Any `PUT` of bytes; see [`Client::get`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn put_bytes(
        &self,
        path: &str,
        body: impl Into<bytes::Bytes>,
        limit: Duration,
    ) -> Result<bytes::Bytes, Error> {
        let call = Call::put(path).body(body.into()).within(limit).once();
        Ok(self.transport.call(call).await?.body)
    }

    /// Any `DELETE`; see [`Client::get`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete(&self, path: &str) -> Result<(), Error> {
        self.transport.call(Call::new(Method::DELETE, path)).await.map(drop)
    }

    /// The same as a blocking query: answers when something after `index` happened, or after about `wait`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_after<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        index: u64,
        wait: Duration,
    ) -> Result<Indexed<T>, Error> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}index={index}&wait={}ms", wait.as_millis());
        // The daemon waits up to a sixteenth longer, to spread its clients.
        let limit = wait + wait / 16 + http::TIMEOUT;
        self.transport.call(Call::new(Method::GET, &path).within(limit)).await?.json()
    }
}

/// The first of these variables that says something.
fn from_env(names: [&str; 2]) -> Option<String> {
    names.into_iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}
