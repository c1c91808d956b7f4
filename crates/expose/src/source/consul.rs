//! Consul's catalog of one node, followed by blocking queries.
//!
//! Consul that cannot be reached, restarts, or does not know the node is not a node without services: what
//! was wished last is held, for a stated time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use consul::listing::{CatalogNode, HealthCheck};
use http::{HeaderValue, Request};
use http_body_util::Full;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use state::{Drain, Publisher, Reader, channel};

use super::{Cursor, Said, Unhealthy, unhealthy, wishes};
use crate::causes::chain;
use crate::http::{Base, HttpError, Limits, TlsError, TlsFiles, TlsSettings};

/// How long a question waits at the server for news.
const WAIT: Duration = Duration::from_secs(60);
/// The server adds a sixteenth to that, and the network something.
const MARGIN: Duration = Duration::from_secs(15);
/// Largest answer that is read: tags and metadata of one node.
const MAX_ANSWER: usize = 8 << 20;

/// Which node of which Consul.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its API.
    pub base: Base,
    /// ACL token.
    pub token: Option<HeaderValue>,
    /// The node whose services count.
    pub node: String,
    /// Services that fail a check wish nothing. Without it, health is not looked at.
    pub only_passing: bool,
    /// How long the last wishes are held when Consul is not heard.
    pub hold: Duration,
}

/// The same as it is configured: one of `[[consul]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Its API: `http://127.0.0.1:8500`, or `https://…`.
    pub address: String,
    /// The node whose services count; this node's own name when there is none.
    pub node: Option<String>,
    /// File with the ACL token.
    pub token_file: Option<PathBuf>,
    /// PEM of whom TLS believes; the system's when there is none.
    pub ca_file: Option<PathBuf>,
    /// PEM of our certificate.
    pub cert_file: Option<PathBuf>,
    /// PEM of its key.
    pub key_file: Option<PathBuf>,
    /// Believe whoever answers.
    pub skip_verify: bool,
    /// Services that fail a check wish nothing.
    pub only_passing: bool,
    /// How long the last wishes are held when Consul is not heard.
    #[serde(with = "state::units::duration")]
    pub hold: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            address: "http://127.0.0.1:8500".into(),
            node: None,
            token_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            skip_verify: false,
            only_passing: true,
            hold: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// Why a source cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// An address that is none.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Files of TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file that cannot be read.
    #[error("read Consul's token from {}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A file without a token in it.
    #[error("{} holds no token: one line of printable characters is due", .0.display())]
    NoToken(PathBuf),
}

impl Settings {
    /// Reads the files, for a node of this name.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn read(&self, own: &str) -> Result<Config, SetupError> {
        let (ca, cert, key) = (self.ca_file.clone(), self.cert_file.clone(), self.key_file.clone());
        let tls = TlsSettings { files: TlsFiles { ca, cert, key }, skip_verify: self.skip_verify };
        let base = Base::parse(&self.address)?.with_tls(&tls)?;
        let token = self.token_file.as_ref().map(|path| read_token(path)).transpose()?;
        let node = self.node.clone().unwrap_or_else(|| own.to_owned());
        Ok(Config { base, token, node, only_passing: self.only_passing, hold: self.hold })
    }
}

fn read_token(path: &Path) -> Result<HeaderValue, SetupError> {
    let failed = |cause| SetupError::Token { path: path.to_owned(), cause };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let none = || SetupError::NoToken(path.to_owned());
    let word = text.trim();
    let mut token = HeaderValue::from_str(word).ok().filter(|_| !word.is_empty()).ok_or_else(none)?;
    token.set_sensitive(true);
    Ok(token)
}

/// Why Consul was not understood.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{url} sent something else than was asked for")]
    Json {
        url: String,
        #[source]
        cause: serde_json::Error,
    },
    #[error("{url} sent no X-Consul-Index: is this Consul?")]
    Index { url: String },
    #[error("Consul does not know a node \"{0}\" (yet)")]
    Unknown(String),
}

/// Follows the node until the drain starts.
pub async fn run(config: Config, said: Publisher<Said>, drain: Drain) {
    let (ill, mut health) = channel(None);
    let follow = async {
        tokio::join!(services(&config, &said, &mut health), async {
            if config.only_passing {
                checks(&config, &ill).await
            } else {
                ill.publish(Some(Unhealthy::new()))
            }
        });
    };
    tokio::select! {
        () = drain.started() => {}
        () = follow => {}
    }
}

/// The list of services, and what is published.
async fn services(config: &Config, said: &Publisher<Said>, health: &mut Reader<Option<Unhealthy>>) {
    let path = format!("/v1/catalog/node/{}", escape(&config.node));
    let mut cursor = Cursor::default();
    let mut last: Option<CatalogNode> = None;
    let mut heard = Instant::now();
    loop {
        let query = ask::<Option<CatalogNode>>(config, &path, cursor.index());
        let answer = tokio::select! {
            answer = query => Some(answer),
            _ = health.next() => None,
        };
        let mut pause = Duration::ZERO;
        let trouble = match answer {
            None => said.now().trouble.clone(),
            Some(Ok((Some(node), index))) => {
                pause = cursor.handle_answer(index);
                last = Some(node);
                heard = Instant::now();
                None
            }
            Some(Ok((None, index))) => {
                // It blocks here too, until the node is registered.
                pause = cursor.handle_answer(index);
                Some(chain(&Trouble::Unknown(config.node.clone())))
            }
            Some(Err(trouble)) => {
                pause = cursor.handle_failure();
                Some(chain(&trouble))
            }
        };
        let silent = trouble.is_some().then(|| heard.elapsed());
        publish(config, said, last.as_ref(), health.now().as_ref().as_ref(), trouble, silent);
        tokio::time::sleep(pause).await;
    }
}

fn publish(
    config: &Config,
    said: &Publisher<Said>,
    node: Option<&CatalogNode>,
    health: Option<&Unhealthy>,
    trouble: Option<String>,
    silent: Option<Duration>,
) {
    let before = said.now();
    if let Some(trouble) = trouble.as_ref().filter(|one| before.trouble.as_ref() != Some(*one)) {
        tracing::warn!(cause = trouble, "Consul is not heard; what it wished last is held");
    } else if trouble.is_none() && before.trouble.is_some() {
        tracing::info!("Consul is heard again");
    }
    // Without a word on health, where health counts, nothing was heard either.
    let is_over = silent.is_some_and(|silent| silent >= config.hold);
    let wishes = node.zip(health).map(|(node, ill)| match is_over {
        true => crate::wish::Wishes::default(),
        false => wishes(node, ill),
    });
    if let Some(wishes) = &wishes {
        let known = before.wishes.as_ref().map_or(&[][..], |wishes| &wishes.complaints);
        for complaint in wishes.complaints.iter().filter(|one| !known.contains(one)) {
            let crate::wish::Complaint { service, tag, column, why } = complaint;
            tracing::warn!(%service, tag, column, why, "a tag cannot be read; none of it is done");
        }
    }
    said.publish_if_changed(Said { wishes: wishes.map(Arc::new), trouble, is_partial: is_over });
}

/// Health of the node's services, where that counts.
async fn checks(config: &Config, ill: &Publisher<Option<Unhealthy>>) {
    let path = format!("/v1/health/node/{}", escape(&config.node));
    let mut cursor = Cursor::default();
    loop {
        let pause = match ask::<Option<Vec<HealthCheck>>>(config, &path, cursor.index()).await {
            Ok((checks, index)) => {
                ill.publish_if_changed(Some(unhealthy(&checks.unwrap_or_default())));
                cursor.handle_answer(index)
            }
            Err(trouble) => {
                tracing::warn!(cause = chain(&trouble), "the health of services is not heard; it is held");
                cursor.handle_failure()
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn ask<T: DeserializeOwned>(config: &Config, path: &str, index: u64) -> Result<(T, u64), Trouble> {
    let path = match index {
        0 => path.to_owned(),
        index => format!("{path}?index={index}&wait={}s", WAIT.as_secs()),
    };
    let url = format!("{}{path}", config.base);
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = path.parse().map_err(|_| HttpError::Url(url.clone()))?;
    if let Some(token) = &config.token {
        request.headers_mut().insert("x-consul-token", token.clone());
    }
    let limits = Limits { time: WAIT + WAIT / 16 + MARGIN, body: MAX_ANSWER };
    let answer = config.base.send(request, limits).await?.good(&url)?;
    let index = answer.headers.get("x-consul-index").and_then(|value| value.to_str().ok()?.parse().ok());
    let index = index.ok_or_else(|| Trouble::Index { url: url.clone() })?;
    let value = consul::decode(&answer.body).map_err(|cause| Trouble::Json { url, cause })?;
    Ok((value, index))
}

/// Percent-encodes a part of a path: all but the unreserved characters of RFC 3986 section 2.3.
fn escape(part: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    part.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
