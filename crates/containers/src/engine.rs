//! The engine's API (Docker Engine API; Podman answers the same paths): the running containers, and its events.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// Longest answer that is read.
const MAX_ANSWER: usize = 8 << 20;
/// Most containers that are asked about one by one.
const MAX_CONTAINERS: usize = 4096;
/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running container, as `GET /containers/{id}/json` shows it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name, with a slash before it.
    pub name: String,
    /// As it was made.
    pub config: Made,
    /// What it may do on the host.
    pub host_config: HostConfig,
    /// How it is reached.
    pub network_settings: Network,
}

/// `Config` of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Made {
    /// Name of the image.
    pub image: String,
    /// `NAME=value` of the environment; `null` when there is none.
    pub env: Option<Vec<String>>,
    /// Labels; `null` when there are none.
    pub labels: Option<BTreeMap<String, String>>,
    /// Ports as `80/tcp`; `null` when there are none.
    pub exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
}

/// `HostConfig` of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfig {
    /// `host` when it has no network of its own.
    pub network_mode: String,
}

/// `NetworkSettings` of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Network {
    /// Its address in the default network.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// Its networks by name.
    pub networks: Option<BTreeMap<String, Endpoint>>,
    /// Where its ports are published, by port as `80/tcp`; `null` for one that is only exposed.
    pub ports: Option<BTreeMap<String, Option<Vec<Binding>>>>,
}

/// A container in one network.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Endpoint {
    /// Its address there.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
}

/// An address of the host that leads into a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Binding {
    /// `0.0.0.0`, `::` or empty for every address.
    pub host_ip: String,
    /// A port, as text.
    pub host_port: String,
}

/// Why the engine did not answer.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Its socket could not be reached.
    #[error("connect to {path}: {cause}")]
    Connect {
        /// The socket.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// It broke off, or took too long.
    #[error("ask for {what}: {cause}")]
    Exchange {
        /// Method and path.
        what: String,
        /// Why.
        cause: String,
    },
    /// It answered something else.
    #[error("ask for {what}: answered {status}")]
    Refused {
        /// Method and path.
        what: String,
        /// The status.
        status: u16,
    },
    /// Its answer is not what was expected.
    #[error("read the answer to {what}: {cause}")]
    Malformed {
        /// Method and path.
        what: String,
        /// Why.
        cause: String,
    },
}

/// The engine behind a socket.
#[derive(Debug, Clone)]
pub struct Engine {
    socket: PathBuf,
}

/// One of the list.
#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Id")]
    id: String,
}

impl Engine {
    /// The engine that listens there.
    pub fn new(socket: PathBuf) -> Engine {
        Engine { socket }
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Every container that runs, whole. One that ends while it is asked about is left out.
    ///
    /// # Errors
    /// An engine that does not answer, or not as it should.
    pub async fn running(&self) -> Result<Vec<Container>, EngineError> {
        let listed: Vec<Listed> = self.get("/containers/json").await?;
        let mut running = Vec::with_capacity(listed.len());
        for one in listed.iter().take(MAX_CONTAINERS).filter(|one| is_id(&one.id)) {
            match self.get(&format!("/containers/{}/json", one.id)).await {
                Ok(container) => running.push(container),
                Err(EngineError::Refused { status: 404, .. }) => {}
                Err(cause) => return Err(cause),
            }
        }
        if listed.len() > MAX_CONTAINERS {
            tracing::warn!(
                running = listed.len(),
                "only the first {MAX_CONTAINERS} containers are looked at"
            );
        }
        Ok(running)
    }

    /// Waits for events; each is a hint to ask for the list again.
    ///
    /// # Errors
    /// An engine that does not answer.
    pub async fn events(&self) -> Result<Events, EngineError> {
        // {"type":["container"]}
        let path = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D";
        Ok(Events { body: self.ask(path).await? })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let what = || format!("GET {path}");
        let read = async {
            let body = self.ask(path).await?;
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            body.map_err(|cause| EngineError::Exchange { what: what(), cause: cause.to_string() })
        };
        let body = within(read, &what()).await?.to_bytes();
        serde_json::from_slice(&body)
            .map_err(|cause| EngineError::Malformed { what: what(), cause: cause.to_string() })
    }

    /// The body of an answer of 200, on a connection of its own.
    async fn ask(&self, path: &str) -> Result<Incoming, EngineError> {
        let what = || format!("GET {path}");
        let exchange =
            |cause: &dyn std::fmt::Display| EngineError::Exchange { what: what(), cause: cause.to_string() };
        let asked = async {
            let stream = UnixStream::connect(&self.socket)
                .await
                .map_err(|cause| EngineError::Connect { path: self.socket.display().to_string(), cause })?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|cause| exchange(&cause))?;
            tokio::spawn(connection);
            let request = http::Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new());
            let answer = sender.send_request(request.map_err(|cause| exchange(&cause))?).await;
            answer.map_err(|cause| exchange(&cause))
        };
        let answer = within(asked, &what()).await?;
        match answer.status().as_u16() {
            200 => Ok(answer.into_body()),
            status => Err(EngineError::Refused { what: what(), status }),
        }
    }
}

async fn within<T>(
    asked: impl Future<Output = Result<T, EngineError>>,
    what: &str,
) -> Result<T, EngineError> {
    let late =
        |_| EngineError::Exchange { what: what.to_owned(), cause: format!("no answer within {PATIENCE:?}") };
    tokio::time::timeout(PATIENCE, asked).await.map_err(late)?
}

/// Ids are put into paths: nothing but what they are made of.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The engine's events, as they happen.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
}

impl Events {
    /// Waits for the next piece of them; false once the engine has ended them. What they say is not read.
    pub async fn next(&mut self) -> bool {
        matches!(self.body.frame().await, Some(Ok(_)))
    }
}
