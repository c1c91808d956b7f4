//! One connection to one of etcd's endpoints, and to the next when that fails.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::access::{Access, Endpoint};
use super::wire::{RangeRequest, RangeResponse, TxnRequest, TxnResponse, WatchLine, WatchRequest};

/// How long a call may take. An election in etcd takes about a second.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest answer that is taken in. A page of batches and the largest chunk of a state are far below.
const MAX_ANSWER: usize = 256 << 20;
/// Longest line of a watch.
const MAX_LINE: usize = 64 << 20;

/// Why a call had no good answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum CallError {
    /// Whether it was done is not known.
    #[error("call etcd at {endpoint}: {cause}")]
    Unreachable { endpoint: String, cause: String },
    /// etcd said no.
    #[error("etcd at {endpoint} answers {status}: {message}")]
    Refused { endpoint: String, status: u16, message: String },
}

impl CallError {
    /// The revision that was asked for has been compacted away.
    pub(super) fn is_compacted(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains("compacted"))
    }

    /// etcd does not know, or no longer, who asks.
    fn wants_login(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains("auth token") || message.contains("user name"))
    }
}

/// Calls one at a time.
pub(super) struct Client {
    access: Access,
    at: usize,
    connection: Option<SendRequest<Full<Bytes>>>,
    /// What etcd gave for the user and password.
    token: Option<String>,
}

#[derive(serde::Deserialize)]
struct Authenticated {
    token: String,
}

impl Client {
    pub(super) fn new(access: Access) -> Self {
        Self { access, at: 0, connection: None, token: None }
    }

    pub(super) async fn range(&mut self, request: &RangeRequest) -> Result<RangeResponse, CallError> {
        self.call("/v3/kv/range", request).await
    }

    pub(super) async fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, CallError> {
        self.call("/v3/kv/txn", request).await
    }

    /// Begins a watch; it has this connection for itself.
    pub(super) async fn watch(mut self, request: &WatchRequest) -> Result<Watch, CallError> {
        self.log_in().await?;
        let response = self.send("/v3/watch", request).await?;
        Ok(Watch {
            endpoint: self.endpoint(),
            body: response.into_body(),
            line: BytesMut::new(),
            _client: self,
        })
    }

    pub(super) async fn call<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        path: &str,
        request: &Q,
    ) -> Result<A, CallError> {
        let answer = match timeout(PATIENCE, self.exchange(path, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unreachable("it does not answer")),
        };
        if matches!(answer, Err(CallError::Unreachable { .. })) {
            self.connection = None;
            self.at = (self.at + 1) % self.access.endpoints.len().max(1);
        }
        if answer.as_ref().is_err_and(CallError::wants_login) {
            self.token = None;
        }
        answer
    }

    async fn exchange<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        path: &str,
        request: &Q,
    ) -> Result<A, CallError> {
        self.log_in().await?;
        self.ask(path, request).await
    }

    /// Where etcd wants to know who asks, says so once; its answer is good for a while.
    async fn log_in(&mut self) -> Result<(), CallError> {
        let Some(login) = self.access.login.clone().filter(|_| self.token.is_none()) else { return Ok(()) };
        let who = serde_json::json!({ "name": login.user, "password": login.password });
        let given: Authenticated = self.ask("/v3/auth/authenticate", &who).await?;
        self.token = Some(given.token);
        Ok(())
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        path: &str,
        request: &Q,
    ) -> Result<A, CallError> {
        let response = self.send(path, request).await?;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER);
        let body = body.collect().await.map_err(|cause| self.unreachable(&cause.to_string()))?.to_bytes();
        if !status.is_success() {
            let message = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
            return Err(CallError::Refused { endpoint: self.endpoint(), status: status.as_u16(), message });
        }
        serde_json::from_slice(&body).map_err(|cause| self.unreachable(&format!("its answer: {cause}")))
    }

    async fn send<Q: Serialize>(&mut self, path: &str, request: &Q) -> Result<Response<Incoming>, CallError> {
        let body = serde_json::to_vec(request).map_err(|cause| self.unreachable(&cause.to_string()))?;
        let endpoint = self.endpoint();
        let mut request =
            Request::post(path).header("host", &endpoint).header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", token);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|cause| self.unreachable(&cause.to_string()))?;
        let sent = self.connection().await?.send_request(request).await;
        sent.map_err(|cause| self.unreachable(&crate::error_chain(&cause)))
    }

    async fn connection(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, CallError> {
        let stale = self.connection.as_ref().is_none_or(SendRequest::is_closed);
        if stale {
            let connected = self.connect().await.map_err(|cause| self.unreachable(&cause))?;
            self.connection = Some(connected);
        }
        let error = self.unreachable("there is no connection");
        self.connection.as_mut().ok_or(error)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let endpoint = self.access.endpoints.get(self.at).ok_or("there is no endpoint")?;
        let connect = self.access.connect(endpoint);
        let stream = timeout(PATIENCE, connect).await.map_err(|_| "it does not answer".to_owned())??;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|cause| cause.to_string())?;
        // It ends with the sender, or with an error that the next call sees as a closed connection.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn endpoint(&self) -> String {
        let endpoint: Option<&Endpoint> = self.access.endpoints.get(self.at);
        endpoint.map(|endpoint| endpoint.authority.clone()).unwrap_or_default()
    }

    fn unreachable(&self, cause: &str) -> CallError {
        CallError::Unreachable { endpoint: self.endpoint(), cause: cause.to_owned() }
    }
}

/// A stream of changes.
pub(super) struct Watch {
    endpoint: String,
    body: Incoming,
    line: BytesMut,
    /// Holds the connection.
    _client: Client,
}

impl Watch {
    /// The next message. Cancel safe.
    ///
    /// # Errors
    /// When the stream has ended, or makes no sense.
    pub(super) async fn next(&mut self) -> Result<WatchLine, CallError> {
        loop {
            if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                let line = self.line.split_to(end + 1);
                return serde_json::from_slice(&line).map_err(|cause| self.broken(&cause.to_string()));
            }
            if self.line.len() > MAX_LINE {
                return Err(self.broken("a message without end"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.line.extend_from_slice(&data);
                    }
                }
                Some(Err(cause)) => return Err(self.broken(&cause.to_string())),
                None => return Err(self.broken("the watch has ended")),
            }
        }
    }

    fn broken(&self, cause: &str) -> CallError {
        CallError::Unreachable { endpoint: self.endpoint.clone(), cause: cause.to_owned() }
    }
}
