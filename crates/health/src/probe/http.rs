//! An HTTP/1.1 request: 2xx passes, 429 warns, everything else is critical. Redirects are answers like any
//! other and are never followed: whoever registers a check must not choose further addresses later.

use catalog::HttpProbe;
use catalog::validate::MAX_OUTPUT;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::address::Reach;
use super::chain;
use super::tls::{Clients, Protocol};
use crate::verdict::Finding;

/// Longest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;

pub(super) fn method(probe: &HttpProbe) -> &str {
    if probe.method.is_empty() { "GET" } else { &probe.method }
}

pub(super) async fn run(reach: &Reach, tls: &Clients, probe: &HttpProbe) -> Finding {
    match ask(reach, tls, probe).await {
        Ok((status, body)) => judge(probe, status, &body),
        Err(cause) => Finding::critical(format!("{} {}: {cause}", method(probe), probe.url)),
    }
}

fn judge(probe: &HttpProbe, status: StatusCode, body: &[u8]) -> Finding {
    let text = String::from_utf8_lossy(body);
    let output = format!("{} {}: {status}\n{text}", method(probe), probe.url);
    match status {
        StatusCode::TOO_MANY_REQUESTS => Finding::warning(output),
        _ if !status.is_success() => Finding::critical(output),
        _ if !text.contains(&*probe.body_match) => Finding::critical(format!(
            "{} {}: {status}, but the first 4 KiB of the answer do not contain {:?}\n{text}",
            method(probe),
            probe.url,
            probe.body_match
        )),
        _ => Finding::passing(output),
    }
}

async fn ask(reach: &Reach, tls: &Clients, probe: &HttpProbe) -> Result<(StatusCode, Vec<u8>), String> {
    let url: Uri = probe.url.parse().map_err(|cause| format!("that is no URL: {cause}"))?;
    let host = url.host().ok_or("the URL has no host")?;
    let is_tls = match url.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err("the URL must start with http:// or https://".into()),
    };
    let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let request = request(probe, &url, host)?;
    let stream = reach.connect(&format!("{host}:{port}")).await.map_err(|cause| chain(&cause))?;
    if !is_tls {
        return exchange(stream, request).await;
    }
    let name = if probe.tls_server_name.is_empty() { host } else { &probe.tls_server_name };
    let client = tls.client(probe.tls_skip_verify, Protocol::Http1);
    exchange(client.connect(name, stream).await?, request).await
}

fn request(probe: &HttpProbe, url: &Uri, host: &str) -> Result<Request<Full<Bytes>>, String> {
    let method = Method::from_bytes(method(probe).as_bytes()).map_err(|_| "that is no HTTP method")?;
    if method == Method::CONNECT {
        return Err("CONNECT is no request that a check can send".into());
    }
    let target = url.path_and_query().map_or("/", |path| path.as_str());
    let mut builder = Request::builder().method(method).uri(target);
    for (name, values) in &probe.headers {
        for value in values {
            builder = builder.header(&**name, &**value);
        }
    }
    let body = Full::new(Bytes::copy_from_slice(probe.body.as_bytes()));
    let mut request = builder.body(body).map_err(|cause| format!("build the request: {cause}"))?;
    let headers = request.headers_mut();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let host = host.parse().map_err(|_| "the URL's host cannot be sent as a header")?;
    headers.entry(HOST).or_insert(host);
    headers.entry(USER_AGENT).or_insert(http::HeaderValue::from_static("portolan-health"));
    headers.entry(ACCEPT).or_insert(http::HeaderValue::from_static("text/plain, text/*, */*"));
    headers.insert(CONNECTION, http::HeaderValue::from_static("close"));
    Ok(request)
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(StatusCode, Vec<u8>), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|cause| chain(&cause))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|cause| chain(&cause))?;
        let status = answer.status();
        Ok((status, beginning(answer.into_body()).await?))
    };
    // The connection is driven here and not by a task, so that nothing of it is left when the probe is
    // over, also when it times out.
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        result = &mut exchange => result,
        end = connection => match end {
            Ok(()) => exchange.await,
            Err(cause) => Err(chain(&cause)),
        },
    }
}

/// The first 4 KiB of a body; the rest is not waited for.
async fn beginning(
    mut body: impl Body<Data = Bytes, Error = hyper::Error> + Unpin,
) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_OUTPUT {
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|cause| format!("read the answer's body: {}", chain(&cause)))?;
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(&data[..data.len().min(MAX_OUTPUT - bytes.len())]);
        }
    }
    Ok(bytes)
}
