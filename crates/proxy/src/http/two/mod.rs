//! A client's connection that speaks HTTP/2, served by h2 itself.
//!
//! All of a connection happens in its one task, turn by turn: [`turn`] says how much of it others wait for, [`socket`]
//! holds back what was read beyond that, [`streams`] polls the requests that can go on, and [`stream`] is one of them.

mod lane;
mod pulse;
mod socket;
mod stream;
mod streams;
pub(crate) mod turn;

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;

use self::pulse::Pulse;
use self::socket::Socket;
use self::streams::{Share, Streams};
use self::turn::{MOST_STREAMS, STREAMS_TIME, Turn};
use super::forward::Client;
use super::guard::{Guard, State};
use super::watch::{Step, Watch};
use crate::config::Http;

/// Flow-control windows toward clients; the protocol's 64 KiB throttle.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// What is kept of an answer for which the client has no room; of those by HTTP/1, too.
pub(super) const SEND_BUFFER: usize = 64 * 1024;

/// Serves a connection to its end.
pub(super) async fn serve(client: Rc<Client>, guard: Guard, config: &Http) {
    client.state.watch_streams(config.max_resets);
    let (stream, kept) = guard.into_parts();
    let turn = Rc::new(Turn::default());
    let socket = Socket::new(stream, kept.into(), client.state.clone(), turn.clone());
    let begin = |request: Request<RecvStream>, respond_to: SendResponse<Bytes>| {
        stream::serve(client.clone(), request, respond_to)
    };
    let streams = Streams::new();
    let mut serving = Serving {
        phase: Phase::Greeting(Box::new(builder(config).handshake(socket))),
        connection: streams.connection(),
        streams,
        begin,
        turn,
        state: client.state.clone(),
        leaves: false,
    };
    let mut watch = Watch::new(&client, config);
    loop {
        let step = tokio::select! {
            biased;
            ended = poll_fn(|cx| serving.poll(cx)) => {
                if let Err(cause) = ended {
                    client.context.face.metrics.http2_errors.inc();
                    tracing::debug!(client = %client.peer, %cause, "an HTTP/2 connection failed");
                }
                return;
            }
            step = watch.next() => step,
        };
        match step {
            Step::Look => {}
            Step::GoAway => serving.leave(),
            Step::Close => return,
            Step::Calm => return serving.calm().await,
        }
    }
}

fn builder(config: &Http) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(config.max_streams)
        .max_header_list_size(u32::try_from(config.max_head_bytes).unwrap_or(u32::MAX));
    builder
}

/// A connection, of which `begin` makes streams.
struct Serving<B, F> {
    phase: Phase,
    streams: Streams<F>,
    /// Wakes it in its place among the streams.
    connection: Waker,
    begin: B,
    turn: Rc<Turn>,
    state: Rc<State>,
    /// It was asked to end before it began.
    leaves: bool,
}

enum Phase {
    /// The preface is awaited, or part of it.
    Greeting(Box<Handshake<Socket, Bytes>>),
    Open(Box<Connection<Socket, Bytes>>, Option<Pulse>),
}

impl<B, F> Serving<B, F>
where
    B: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F,
    F: Future<Output = ()>,
{
    /// One turn.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.streams.answer_the_door();
        if self.turn.begin(cx) {
            self.streams.wake_connection();
        }
        let polled = self.poll_turn(cx);
        if polled.is_pending() {
            if self.streams.listen(cx) {
                self.turn.wants_more();
            }
            if self.turn.is_abused() {
                self.state.hurry();
            }
            self.turn.end(cx);
        }
        polled
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        if let Phase::Greeting(greeting) = &mut self.phase {
            let mut connection = ready!(Pin::new(greeting).poll(cx))?;
            if self.leaves {
                connection.graceful_shutdown();
            }
            let pulse = connection.ping_pong().map(Pulse::new);
            self.phase = Phase::Open(Box::new(connection), pulse);
            self.streams.wake_connection();
        }
        let Phase::Open(connection, pulse) = &mut self.phase else { return Poll::Pending };
        if pulse.as_mut().is_some_and(|pulse| pulse.is_gone(cx)) {
            return Poll::Ready(Ok(()));
        }
        let mut share = Share::new(MOST_STREAMS, STREAMS_TIME);
        let mut cx = Context::from_waker(&self.connection);
        // What streams answer goes out with what the connection writes next, and what came for streams is heard in turn.
        while self.streams.poll(&mut share) {
            loop {
                match connection.poll_accept(&mut cx) {
                    Poll::Ready(Some(Ok((request, mut respond_to)))) => {
                        // Given up before it was begun: it costs nobody anything, and counts.
                        match respond_to.poll_reset(&mut cx).is_ready() {
                            true => self.state.give_up(),
                            false => self.streams.begin((self.begin)(request, respond_to)),
                        }
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => break,
                }
            }
        }
        Poll::Pending
    }

    /// Takes no further requests.
    fn leave(&mut self) {
        self.leaves = true;
        if let Phase::Open(connection, _) = &mut self.phase {
            connection.graceful_shutdown();
            self.streams.wake_connection();
        }
    }

    /// Tells the client to calm down, as far as it listens, and ends.
    async fn calm(mut self) {
        if let Phase::Open(connection, _) = &mut self.phase {
            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            poll_fn(|cx| {
                // Once: nobody waits for one that does not read.
                let _ = connection.poll_closed(cx);
                Poll::Ready(())
            })
            .await;
        }
    }
}
