//! WebSockets over HTTP/2 (RFC 8441). Toward the server they are an upgrade of HTTP/1.1, which all of them speak.

use std::rc::Rc;

use h2::ext::Protocol;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use relay::Stream;
use relay::http::{Body, Upgraded, websocket};
use relay::pump::Prefix;
use route::Permit;

use super::answer;
use super::conn::tunnel;
use super::forward::{Client, Speaks};
use super::guard::State;

/// A stream that is to become a WebSocket.
pub(super) struct Extended {
    /// What the server has to prove that it read.
    key: String,
    /// The server's side, once the two agreed.
    agreed: Option<(Upgraded, Permit)>,
}

impl Extended {
    /// Turns a CONNECT for a WebSocket into the upgrade that the server is asked for. `None` when the request is anything
    /// else; then it stays as it is.
    pub(super) fn opening(request: &mut Parts) -> Option<Extended> {
        if request.method != Method::CONNECT {
            return None;
        }
        request.extensions.get::<Protocol>().filter(|protocol| protocol.as_str() == "websocket")?;
        let key = websocket::new_key();
        let value = HeaderValue::from_str(&key).ok()?;
        request.method = Method::GET;
        let headers = &mut request.headers;
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_KEY, value);
        Some(Extended { key, agreed: None })
    }

    /// Turns the server's answer into the client's.
    pub(super) fn answered(&mut self, client: &Rc<Client>, mut response: Response<Body>) -> Response<Body> {
        match client.upgrade.take() {
            Some((upgraded, permit, Speaks::WebSocket)) if self.is_proven(&response) => {
                *response.status_mut() = StatusCode::OK;
                for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
                    response.headers_mut().remove(name);
                }
                self.agreed = Some((upgraded, permit));
                response
            }
            // To the client any success would be a WebSocket.
            None if !response.status().is_success() => response,
            _ => answer::broken_upgrade(&client.context.face.metrics),
        }
    }

    /// What is to be relayed, where the two agreed.
    pub(super) fn agreed(self) -> Option<(Upgraded, Permit)> {
        self.agreed
    }

    fn is_proven(&self, response: &Response<Body>) -> bool {
        let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT);
        accepted.is_some_and(|accepted| accepted == websocket::accept_key(&self.key).as_str())
    }
}

/// Keeps the connection busy, as a request in flight does.
struct Open(Rc<State>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Relays until one of the two ends.
pub(super) async fn relay(client: &Rc<Client>, down: Stream, upgraded: Upgraded, permit: Permit) {
    client.state.open();
    let _open = Open(client.state.clone());
    client.context.face.metrics.upgrades.inc();
    let Upgraded { stream: up, early, flight } = upgraded;
    let prefix = Prefix { downstream: early, ..Prefix::default() };
    tunnel(client, permit, (down, up), prefix, Speaks::WebSocket).await;
    drop(flight);
}
