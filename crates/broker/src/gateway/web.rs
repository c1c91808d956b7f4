//! WebSocket by path: `ws://gateway/authd` is the service authd.

use bytes::BytesMut;
use http::{Method, StatusCode};
use relay::Stream;
use tokio::io::AsyncWriteExt as _;

use super::accept::{Client, Scheme};
use super::connect::say;
use super::conversation::Conversation;
use super::head::Head;
use super::reach::{Refusal, reach};
use super::target::Target;
use super::{pump, who};
use crate::uri::is_service_name;
use crate::websocket::{self, Refusal as NotWanted};

/// Serves a request that is none to a proxy.
pub(super) async fn serve(client: Client, mut stream: Stream, head: &Head, rest: BytesMut) {
    let accept = match websocket::wanted(&head.headers) {
        Ok(accept) if head.method == Method::GET => accept,
        Ok(_) => {
            return say(stream, StatusCode::METHOD_NOT_ALLOWED, "", "a WebSocket is asked for by GET").await;
        }
        Err(NotWanted::Version) => {
            let extra = "Sec-WebSocket-Version: 13\r\n";
            return say(stream, StatusCode::UPGRADE_REQUIRED, extra, &NotWanted::Version.to_string()).await;
        }
        Err(why) => {
            client.face.metrics.refused("protocol");
            let text = format!("{why}; this is a gateway: use it as a proxy, or open ws://…/SERVICE");
            return say(stream, StatusCode::BAD_REQUEST, "", &text).await;
        }
    };
    let path = head.target.split(['?', '#']).next().unwrap_or_default();
    let Some(name) = path.strip_prefix('/').filter(|name| is_service_name(name)) else {
        client.face.metrics.refused("malformed");
        return say(stream, StatusCode::BAD_REQUEST, "", "the path is a slash and a service's name").await;
    };
    let reached = match client.decided(who::to_server(&head.headers)).await {
        Ok(principal) => {
            let reached = reach(&client, &principal, Scheme::Ws, &Target::Service(name.to_owned())).await;
            reached.map_err(|refusal| client.asks(refusal, &principal))
        }
        Err(refusal) => Err(refusal),
    };
    match reached {
        Err(refusal) => {
            refusal.note(&client);
            let (status, extra) = match refusal {
                Refusal::Unproven => {
                    (StatusCode::UNAUTHORIZED, "WWW-Authenticate: Basic realm=\"portolan\"\r\n")
                }
                _ => (refusal.status(), ""),
            };
            say(stream, status, extra, &refusal.to_string()).await;
        }
        Ok(reached) => {
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            client.face.metrics.opened("ws");
            let ping = client.face.config.ping_interval;
            let speaking = Conversation::new(stream, rest.freeze(), reached.generation, ping);
            pump::run(&client, Stream::Other(Box::new(speaking)), reached, bytes::Bytes::new()).await;
        }
    }
}
