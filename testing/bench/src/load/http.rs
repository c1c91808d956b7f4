//! HTTP/1.1 with one kept connection per client.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// One kept connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    token: Option<HeaderValue>,
}

impl Connection {
    /// Connects; the connection is driven by a task of the current runtime.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("begin HTTP")?;
        tokio::spawn(connection);
        Ok(Connection { sender, host: address.to_string(), token: None })
    }

    /// Requests carry this token from now on.
    pub(crate) fn with_token(mut self, token: Option<&str>) -> Result<Self> {
        self.token = token.map(HeaderValue::from_str).transpose().context("a token is a header's value")?;
        Ok(self)
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, &self.host)
            .header(http::header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header("x-consul-token", token);
        }
        request.body(Full::new(body)).context("build a request")
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes)> {
        let request = self.request(method, path, body)?;
        self.sender.ready().await.context("the connection was closed")?;
        let answer = self.sender.send_request(request).await.with_context(|| format!("ask for {path}"))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.context("read an answer")?.to_bytes();
        Ok((status, body))
    }

    /// Sends a request without a body and returns what comes before the answer's body.
    pub(crate) async fn headers(&mut self, method: Method, path: &str) -> Result<(StatusCode, HeaderMap)> {
        let request = self.request(method, path, Bytes::new())?;
        let answer = self.sender.send_request(request).await.with_context(|| format!("ask for {path}"))?;
        let (head, body) = answer.into_parts();
        body.collect().await.context("read an answer")?;
        Ok((head.status, head.headers))
    }

    /// Sends a request that has to succeed.
    pub(crate) async fn put(&mut self, path: &str, body: Bytes) -> Result<Bytes> {
        let (status, answer) = self.send(Method::PUT, path, body).await?;
        ensure!(status.is_success(), "PUT {path}: {status}: {}", String::from_utf8_lossy(&answer));
        Ok(answer)
    }
}
