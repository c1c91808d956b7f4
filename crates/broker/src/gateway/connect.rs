//! HTTP/1.1: CONNECT, requests in a proxy's form, and WebSockets.

use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode};
use relay::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::accept::{Client, Scheme};
use super::head::{self, Head};
use super::reach::{Refusal, reach};
use super::{forward, pump, target, web, who};

/// Serves a client that speaks HTTP/1.1; `first` was read of it.
pub(super) async fn serve(client: Client, mut stream: Stream, mut first: BytesMut) {
    let patience = client.face.config.handshake_timeout;
    let (head, length) = match tokio::time::timeout(patience, read(&mut stream, &mut first)).await {
        Ok(Some(read)) => read,
        Ok(None) => {
            client.face.metrics.refused("malformed");
            return say(
                stream,
                StatusCode::BAD_REQUEST,
                "",
                "this is no HTTP/1.1 request that is taken here",
            )
            .await;
        }
        Err(_) => {
            client.face.metrics.refused("slow");
            return say(stream, StatusCode::REQUEST_TIMEOUT, "", "the request took too long").await;
        }
    };
    if is_foreign(&client, &head.headers) {
        client.face.metrics.refused("origin");
        return say(stream, StatusCode::FORBIDDEN, "", "pages of that origin may not ask here").await;
    }
    if head.method == Method::CONNECT {
        let rest = first.split_off(length);
        return tunnel(client, stream, &head, rest).await;
    }
    if head.target.starts_with("http://") {
        return forward::over_http1(client, stream, first.freeze()).await;
    }
    let rest = first.split_off(length);
    web::serve(client, stream, &head, rest).await;
}

async fn read(stream: &mut Stream, first: &mut BytesMut) -> Option<(Head, usize)> {
    loop {
        if let Some(read) = head::read(first).ok()? {
            return Some(read);
        }
        if stream.read_buf(first).await.ok()? == 0 {
            return None;
        }
    }
}

/// A browser's page asks, and none that may.
pub(super) fn is_foreign(client: &Client, headers: &HeaderMap) -> bool {
    let may =
        |origin: &str| client.face.config.origins.iter().any(|other| other.eq_ignore_ascii_case(origin));
    let mut origins = headers.get_all(http::header::ORIGIN).into_iter();
    origins.any(|origin| !origin.to_str().is_ok_and(may))
}

async fn tunnel(client: Client, mut stream: Stream, head: &Head, rest: BytesMut) {
    let Some(target) = target::read(&head.target, &client.face.config.domains) else {
        client.face.metrics.refused("malformed");
        return say(stream, StatusCode::BAD_REQUEST, "", "CONNECT is followed by host:port").await;
    };
    let reached = match client.proxied(&head.headers).await {
        Ok(principal) => reach(&client, &principal, Scheme::Http, &target)
            .await
            .map_err(|refusal| client.asks(refusal, &principal)),
        Err(refusal) => Err(refusal),
    };
    match reached {
        Err(refusal) => refuse(&client, stream, &refusal).await,
        Ok(reached) => {
            if stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_err() || stream.flush().await.is_err() {
                return;
            }
            client.face.metrics.opened("connect");
            pump::run(&client, stream, reached, rest.freeze()).await;
        }
    }
}

impl Client {
    /// Who asks, by what a request shows to a proxy.
    pub(super) async fn proxied(&self, headers: &HeaderMap) -> Result<route::Principal, Refusal> {
        let shown = who::to_proxy(headers);
        self.decided(shown).await
    }

    /// Who asks, by what was shown.
    pub(super) async fn decided(
        &self,
        shown: Result<Option<who::Shown>, who::Bad>,
    ) -> Result<route::Principal, Refusal> {
        match shown.and_then(|shown| self.principal(shown.as_ref())) {
            Ok(Some(principal)) => Ok(principal),
            Ok(None) => Err(Refusal::Unproven),
            Err(who::Bad) => {
                self.repent().await;
                Err(Refusal::Unproven)
            }
        }
    }

    /// Somebody who is nobody may be allowed more when they say who they are.
    pub(super) fn asks(&self, refusal: Refusal, principal: &route::Principal) -> Refusal {
        match (&refusal, principal) {
            (Refusal::Forbidden, route::Principal::Anonymous { .. }) => Refusal::Unproven,
            _ => refusal,
        }
    }
}

pub(super) async fn refuse(client: &Client, stream: Stream, refusal: &Refusal) {
    refusal.note(client);
    let extra = match refusal {
        Refusal::Unproven => "Proxy-Authenticate: Basic realm=\"portolan\"\r\n",
        _ => "",
    };
    say(stream, refusal.status(), extra, &refusal.to_string()).await;
}

/// Answers and closes. `extra` are whole header lines.
pub(super) async fn say(mut stream: Stream, status: StatusCode, extra: &str, text: &str) {
    let reason = status.canonical_reason().unwrap_or_default();
    let length = text.len() + 1;
    let answer = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n{extra}Connection: close\r\n\r\n{text}\n",
        status.as_u16()
    );
    // A client that has gone needs no answer.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
