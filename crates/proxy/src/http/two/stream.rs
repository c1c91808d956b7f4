//! One stream of HTTP/2: a request, and its answer.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{Request, Response, Version};
use http_body::Body as _;
use relay::Stream;
use relay::http::{Body, pipe};

use super::lane::Lane;
use crate::http::counted::Counted;
use crate::http::extended::{self, Extended};
use crate::http::fast::rounds;
use crate::http::forward::{Client, respond};

/// Answers a request.
pub(super) async fn serve(client: Rc<Client>, request: Request<RecvStream>, respond_to: SendResponse<Bytes>) {
    let (mut parts, received) = request.into_parts();
    match Extended::opening(&mut parts) {
        // Boxed: it is rare, and more than a request needs.
        Some(extended) => Box::pin(open(client, extended, (parts, received), respond_to)).await,
        None => {
            let body = Body::received(received, &parts.headers);
            answer(client, Request::from_parts(parts, body), respond_to).await;
        }
    }
}

async fn answer(client: Rc<Client>, request: Request<Body>, mut respond_to: SendResponse<Bytes>) {
    let Some(response) = wait(&client, request, None, &mut respond_to).await else { return };
    let (mut head, body) = response.into_parts();
    let is_over = body.is_end_stream();
    if !is_over
        && let Some(length) = body.size_hint().exact()
        && !head.headers.contains_key(CONTENT_LENGTH)
    {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    finish(&mut head);
    match respond_to.send_response(Response::from_parts(head, ()), is_over) {
        Ok(_) if is_over => {}
        Ok(stream) => pipe(body, stream, Reason::INTERNAL_ERROR).await,
        Err(cause) => {
            tracing::debug!(client = %client.peer, %cause, "an answer cannot be sent");
            respond_to.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// Waits for an answer; `None` when the client gave up before.
async fn wait(
    client: &Rc<Client>,
    request: Request<Body>,
    extended: Option<&mut Extended>,
    respond_to: &mut SendResponse<Bytes>,
) -> Option<Response<Counted>> {
    let mut answer = pin!(respond(client, request, extended));
    poll_fn(|cx| match answer.as_mut().poll(cx) {
        Poll::Ready(response) => Poll::Ready(Some(response)),
        Poll::Pending => respond_to.poll_reset(cx).map(|_| None),
    })
    .await
}

/// What HTTP/2 has no place for goes (RFC 9113 section 8.2.2), and the date is told where nobody did.
fn finish(head: &mut http::response::Parts) {
    head.version = Version::HTTP_2;
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        head.headers.remove(name);
    }
    if !head.headers.contains_key(DATE)
        && let Ok(date) = rounds::with_date(HeaderValue::from_bytes)
    {
        head.headers.insert(DATE, date);
    }
}

/// The same for a stream that becomes a WebSocket where the server agrees.
async fn open(
    client: Rc<Client>,
    mut extended: Extended,
    (parts, received): (http::request::Parts, RecvStream),
    mut respond_to: SendResponse<Bytes>,
) {
    let request = Request::from_parts(parts, Body::empty());
    let Some(response) = wait(&client, request, Some(&mut extended), &mut respond_to).await else { return };
    let (mut head, body) = response.into_parts();
    finish(&mut head);
    let agreed = extended.agreed();
    let is_over = agreed.is_none() && body.is_end_stream();
    let Ok(stream) = respond_to.send_response(Response::from_parts(head, ()), is_over) else {
        return respond_to.send_reset(Reason::INTERNAL_ERROR);
    };
    match agreed {
        Some((upgraded, permit)) => {
            drop(body);
            let lane = Stream::Other(Box::new(Lane::new(received, stream)));
            extended::relay(&client, lane, upgraded, permit).await;
        }
        None if is_over => {}
        None => pipe(body, stream, Reason::INTERNAL_ERROR).await,
    }
}
