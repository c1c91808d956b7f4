//! The gRPC health protocol (`grpc.health.v1.Health/Check`), written out by hand over HTTP/2: one field
//! out, one field back.

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use super::address::Reach;
use super::chain;
use super::tls::Client;
use crate::verdict::Finding;

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServingStatus {
    Unknown,
    Serving,
    NotServing,
    ServiceUnknown,
}

/// Checks `address`, which is `host:port` or `host:port/service`.
pub(super) async fn run(reach: &Reach, tls: Option<Client>, address: &str) -> Finding {
    let (host_port, service) = address.split_once('/').unwrap_or((address, ""));
    let what = match service {
        "" => format!("gRPC health check of {host_port}"),
        service => format!("gRPC health check of {service} at {host_port}"),
    };
    match ask(reach, tls, host_port, service).await {
        Ok(ServingStatus::Serving) => Finding::passing(format!("{what}: SERVING")),
        Ok(ServingStatus::NotServing) => Finding::critical(format!("{what}: NOT_SERVING")),
        Ok(ServingStatus::ServiceUnknown) => Finding::critical(format!("{what}: SERVICE_UNKNOWN")),
        Ok(ServingStatus::Unknown) => Finding::critical(format!("{what}: UNKNOWN")),
        Err(cause) => Finding::critical(format!("{what}: {cause}")),
    }
}

async fn ask(
    reach: &Reach,
    tls: Option<Client>,
    host_port: &str,
    service: &str,
) -> Result<ServingStatus, String> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let request = Request::post(format!("{scheme}://{host_port}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "portolan-health")
        .body(Full::new(encode_request(service)))
        .map_err(|cause| format!("build the request: {cause}"))?;
    let stream = reach.connect(host_port).await.map_err(|cause| chain(&cause))?;
    match tls {
        None => exchange(stream, request).await,
        Some(client) => {
            let host = host_port.rsplit_once(':').map_or(host_port, |(host, _)| host);
            exchange(client.connect(host, stream).await?, request).await
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<ServingStatus, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(16 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|cause| chain(&cause))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|cause| chain(&cause))?;
        read(answer).await
    };
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

async fn read(answer: Response<Incoming>) -> Result<ServingStatus, String> {
    let (head, body) = answer.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!("HTTP {}", head.status));
    }
    // An error without a message comes in the head alone.
    grpc_status(&head.headers)?;
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|cause| cause.to_string())?;
    if let Some(trailers) = body.trailers() {
        grpc_status(trailers)?;
    }
    decode_response(&body.to_bytes())
}

fn grpc_status(headers: &http::HeaderMap) -> Result<(), String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some(code) => Err(format!("gRPC status {code} {}", text("grpc-message").unwrap_or_default())),
    }
}

/// One length-prefixed message with field 1, the service's name.
fn encode_request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

fn decode_response(bytes: &[u8]) -> Result<ServingStatus, String> {
    let malformed = || "the answer is no gRPC message".to_owned();
    let (flag, rest) = bytes.split_first().ok_or_else(malformed)?;
    let (length, message) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
    if *flag != 0 {
        return Err("the answer is compressed, which nobody asked for".into());
    }
    let message = message.get(..u32::from_be_bytes(*length) as usize).ok_or_else(malformed)?;
    match status_field(message).ok_or_else(malformed)? {
        1 => Ok(ServingStatus::Serving),
        2 => Ok(ServingStatus::NotServing),
        3 => Ok(ServingStatus::ServiceUnknown),
        _ => Ok(ServingStatus::Unknown),
    }
}

/// Field 1 of a protobuf message, 0 when absent; other fields are skipped.
fn status_field(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match tag & 7 {
            0 => {
                let value = varint(&mut message)?;
                if tag >> 3 == 1 {
                    status = value;
                }
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Reads an answer's body as the probe does; true when it says SERVING. For fuzzing.
pub fn fuzz_health_response(bytes: &[u8]) -> bool {
    decode_response(bytes) == Ok(ServingStatus::Serving)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_carry_the_service_name() {
        assert_eq!(&encode_request("")[..], &[0, 0, 0, 0, 0]);
        assert_eq!(&encode_request("web")[..], &[0, 0, 0, 0, 5, 0x0a, 3, b'w', b'e', b'b']);
        let long = encode_request(&"x".repeat(200));
        assert_eq!(long[5..8], [0x0a, 0xc8, 0x01]);
    }

    #[test]
    fn answers_are_read_with_limits() {
        assert_eq!(decode_response(&[0, 0, 0, 0, 2, 8, 1]), Ok(ServingStatus::Serving));
        assert_eq!(decode_response(&[0, 0, 0, 0, 2, 8, 2]), Ok(ServingStatus::NotServing));
        assert_eq!(decode_response(&[0, 0, 0, 0, 0]), Ok(ServingStatus::Unknown));
        // Unknown fields of every wire type before the status.
        let fields = [0x12, 1, 9, 0x18, 0x80, 1, 0x25, 1, 2, 3, 4, 0x29, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1];
        let mut framed = vec![0, 0, 0, 0, fields.len() as u8];
        framed.extend_from_slice(&fields);
        assert_eq!(decode_response(&framed), Ok(ServingStatus::Serving));
        for bad in
            [&[][..], &[0, 0, 0], &[0, 0, 0, 0, 9, 8, 1], &[0, 0, 0, 0, 2, 8, 0x80], &[0, 0, 0, 0, 1, 0x0f]]
        {
            assert!(decode_response(bad).is_err(), "{bad:?}");
        }
        assert!(decode_response(&[1, 0, 0, 0, 2, 8, 1]).is_err(), "compressed");
    }
}
