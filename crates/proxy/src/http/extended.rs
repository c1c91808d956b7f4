//! WebSockets over HTTP/2 (RFC 8441). Toward the server they are an upgrade of HTTP/1.1, which all of them speak.

use std::rc::Rc;

use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
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
    client: OnUpgrade,
    /// What the server has to prove that it read.
    key: String,
}

impl Extended {
    /// Turns a CONNECT for a WebSocket into the upgrade that the server is asked for. `None` when the request is anything
    /// else; then it stays as it is.
    pub(super) fn opening(request: &mut Request<Incoming>) -> Option<Extended> {
        let is_websocket = request.extensions().get::<Protocol>()?.as_str() == "websocket";
        if request.method() != Method::CONNECT || !is_websocket {
            return None;
        }
        let client = request.extensions_mut().remove::<OnUpgrade>()?;
        let key = websocket::new_key();
        let value = HeaderValue::from_str(&key).ok()?;
        *request.method_mut() = Method::GET;
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_KEY, value);
        Some(Extended { client, key })
    }

    /// Turns the server's answer into the client's, and begins to relay where the two agreed.
    pub(super) fn answered(self, client: &Rc<Client>, mut response: Response<Body>) -> Response<Body> {
        match client.upgrade.take() {
            Some((upgraded, permit, Speaks::WebSocket)) if self.is_proven(&response) => {
                *response.status_mut() = StatusCode::OK;
                for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
                    response.headers_mut().remove(name);
                }
                tokio::task::spawn_local(relay(client.clone(), self.client, upgraded, permit));
                response
            }
            // To the client any success would be a WebSocket.
            None if !response.status().is_success() => response,
            _ => answer::broken_upgrade(&client.context.face.metrics),
        }
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

async fn relay(client: Rc<Client>, stream: OnUpgrade, upgraded: Upgraded, permit: Permit) {
    client.state.open();
    let _open = Open(client.state.clone());
    let Upgraded { stream: up, early, flight } = upgraded;
    match stream.await {
        Ok(down) => {
            client.context.face.metrics.upgrades.inc();
            let down = Stream::Other(Box::new(TokioIo::new(down)));
            let prefix = Prefix { downstream: early, ..Prefix::default() };
            tunnel(&client, permit, (down, up), prefix, Speaks::WebSocket).await;
        }
        Err(cause) => tracing::debug!(client = %client.peer, %cause, "a WebSocket was not waited for"),
    }
    drop(flight);
}
