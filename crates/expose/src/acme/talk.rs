//! The signed conversation: the directory, nonces, and answers that are problems (RFC 8555 sections 6 and 7.1).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::key::AccountKey;
use super::{AcmeError, crypto};
use crate::http::{Answer, Base, HttpError, Limits};

/// Answers of authorities are small; a chain of certificates is the largest.
const LIMITS: Limits = Limits { time: Duration::from_secs(20), body: 256 * 1024 };
/// A nonce may be too old by the time it is used, and one authority for tests refuses some at random.
const NONCES: usize = 5;
const NONCE: &str = "replay-nonce";

/// Where an authority wants what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Directory {
    new_nonce: String,
    new_account: String,
    new_order: String,
}

/// An answer that is none of a problem.
pub(super) struct Reply {
    pub(super) body: Bytes,
    /// What was made, by its address.
    pub(super) location: Option<String>,
    /// When to ask again.
    pub(super) after: Option<Duration>,
}

impl Reply {
    pub(super) fn json(&self) -> Result<Value, AcmeError> {
        serde_json::from_slice(&self.body).map_err(|_| AcmeError::Odd("JSON"))
    }
}

/// A conversation with one authority.
pub(super) struct Talk {
    base: Base,
    directory: Directory,
    nonce: Option<String>,
    key: Arc<AccountKey>,
    /// The account, by its address.
    account: String,
}

impl Talk {
    /// Reads the directory; the account is found by [`Talk::enter`].
    pub(super) async fn open(base: &Base, url: &str, key: Arc<AccountKey>) -> Result<Talk, AcmeError> {
        let (at, path) = base.beside(url)?;
        let answer = at.send(get(Method::GET, &path), LIMITS).await?.good(&url)?;
        let said: Value = serde_json::from_slice(&answer.body).map_err(|_| AcmeError::Odd("JSON"))?;
        let place = |what: &'static str| text(&said, what);
        let directory = Directory {
            new_nonce: place("newNonce")?,
            new_account: place("newAccount")?,
            new_order: place("newOrder")?,
        };
        Ok(Talk { base: base.clone(), directory, nonce: None, key, account: String::new() })
    }

    /// Finds the account of our key, or makes it: section 7.3.
    pub(super) async fn enter(&mut self, contact: &[String]) -> Result<(), AcmeError> {
        let wish = json!({ "termsOfServiceAgreed": true, "contact": contact });
        let url = self.directory.new_account.clone();
        let reply = self.post(&url, Some(&wish)).await?;
        self.account = reply.location.ok_or(AcmeError::Odd("Location of the account"))?;
        Ok(())
    }

    /// Orders a certificate: section 7.4. The order's address and what it says.
    pub(super) async fn order(&mut self, name: &str) -> Result<(String, Value), AcmeError> {
        let wish = json!({ "identifiers": [{ "type": "dns", "value": name }] });
        let url = self.directory.new_order.clone();
        let reply = self.post(&url, Some(&wish)).await?;
        let said = reply.json()?;
        Ok((reply.location.ok_or(AcmeError::Odd("Location of the order"))?, said))
    }

    /// What stands behind a challenge's token.
    pub(super) fn authorization(&self, token: &str) -> String {
        self.key.authorization(token)
    }

    /// Asks, signed; without a payload to be shown something.
    pub(super) async fn post(&mut self, url: &str, payload: Option<&Value>) -> Result<Reply, AcmeError> {
        for attempt in 1.. {
            let answer = self.post_once(url, payload).await?;
            self.nonce = field(&answer, NONCE);
            match read(answer) {
                Err(AcmeError::Refused { kind, .. }) if kind == "badNonce" && attempt < NONCES => {}
                other => return other,
            }
        }
        Err(AcmeError::Odd("use for our nonces"))
    }

    async fn post_once(&mut self, url: &str, payload: Option<&Value>) -> Result<Answer, AcmeError> {
        let nonce = match self.nonce.take() {
            Some(nonce) => nonce,
            None => self.new_nonce().await?,
        };
        let mut protected = json!({ "alg": "ES256", "nonce": nonce, "url": url });
        match self.account.is_empty() {
            true => protected["jwk"] = self.key.jwk(),
            false => protected["kid"] = self.account.as_str().into(),
        }
        let body = self.key.sign(&protected, payload)?;
        let (base, path) = self.base.beside(url)?;
        let request = Request::post(path)
            .header(CONTENT_TYPE, "application/jose+json")
            .header(USER_AGENT, AGENT)
            .body(Full::from(body));
        let request = request.map_err(|why| crypto("write a request", why))?;
        Ok(base.send(request, LIMITS).await?)
    }

    async fn new_nonce(&self) -> Result<String, AcmeError> {
        let (base, path) = self.base.beside(&self.directory.new_nonce)?;
        let answer = base.send(get(Method::HEAD, &path), LIMITS).await?;
        field(&answer, NONCE).ok_or(AcmeError::Odd("Replay-Nonce"))
    }
}

/// RFC 8555 section 6.1 asks for one.
const AGENT: &str = concat!("portolan/", env!("CARGO_PKG_VERSION"));

fn get(method: Method, path: &str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.method_mut() = method;
    request.headers_mut().insert(USER_AGENT, http::HeaderValue::from_static(AGENT));
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
    request
}

fn field(answer: &Answer, name: &str) -> Option<String> {
    answer.headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// Text of a member.
pub(super) fn text(said: &Value, what: &'static str) -> Result<String, AcmeError> {
    said[what].as_str().map(str::to_owned).ok_or(AcmeError::Odd(what))
}

fn read(answer: Answer) -> Result<Reply, AcmeError> {
    let seconds = field(&answer, RETRY_AFTER.as_str()).and_then(|text| text.parse::<u64>().ok());
    if answer.status.is_success() {
        let location = field(&answer, LOCATION.as_str());
        return Ok(Reply { body: answer.body, location, after: seconds.map(Duration::from_secs) });
    }
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(said) => {
            let (said, kind) = problem(&said);
            Err(AcmeError::Refused { said, kind, after: seconds })
        }
        Err(_) => Err(HttpError::Status {
            url: "the authority".into(),
            status: answer.status,
            said: String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]).trim().to_owned(),
        }
        .into()),
    }
}

/// A problem document (RFC 7807): what it says, and its kind.
pub(super) fn problem(said: &Value) -> (String, String) {
    let kind = said["type"].as_str().unwrap_or_default();
    let detail = said["detail"].as_str().unwrap_or("it does not say why");
    (
        detail.chars().take(300).collect(),
        kind.rsplit(':').next().unwrap_or_default().chars().take(60).collect(),
    )
}
