//! One session: its queues, and the task that carries them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, mpsc};

use super::{ChannelEvent, Ended, Hub};
use crate::frame;
use crate::stream::{Receive, Send, Stream};

/// Frames below it are copied together and sent at once.
const TOGETHER: usize = 64 << 10;

/// A session as its senders see it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: u64,
    lanes: Vec<mpsc::UnboundedSender<Bytes>>,
    queued: Arc<AtomicUsize>,
    most_queued: usize,
    ended: AtomicBool,
    end: Notify,
}

impl Session {
    pub(super) fn send(&self, lane: usize, frame: Bytes) -> Result<(), Ended> {
        if self.ended.load(Ordering::Acquire) || frame.len() > frame::LONGEST {
            return Err(Ended);
        }
        let length = frame.len() + 4;
        if self.queued.fetch_add(length, Ordering::AcqRel) + length > self.most_queued {
            self.end();
            return Err(Ended);
        }
        self.lanes.get(lane).ok_or(Ended)?.send(frame).map_err(|_| Ended)
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.end.notify_one();
    }

    async fn asked_to_end(&self) {
        self.end.notified().await;
    }
}

/// Carries a session over its streams, one for each lane, from its `Up` to its `Down`.
pub(super) async fn run(hub: &Arc<Hub>, peer: &str, streams: Vec<Stream>) {
    let queued = Arc::new(AtomicUsize::new(0));
    let (senders, queues): (Vec<_>, Vec<_>) = streams.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let (session, turn) = hub.sessions.take_place(peer, |number| Session {
        number,
        lanes: senders,
        queued: queued.clone(),
        most_queued: hub.most_queued,
        ended: AtomicBool::new(false),
        end: Notify::new(),
    });
    let _turn = turn.lock_owned().await;
    if session.ended.load(Ordering::Acquire) {
        // A later one took the turn first: numbers go up, so this one is never told of.
        return hub.sessions.leave_place(peer, session.number);
    }
    let number = session.number;
    if hub.events.send(ChannelEvent::Up { peer: peer.to_owned(), session: number }).await.is_err() {
        return;
    }
    let ended = carry(hub, peer, &session, streams, queues, &queued).await;
    session.end();
    tracing::debug!(peer, kind = %hub.kind, session = number, reason = %ended, "session ended");
    hub.sessions.leave_place(peer, number);
    let _ = hub.events.send(ChannelEvent::Down { peer: peer.to_owned(), session: number }).await;
}

/// Until one of the lanes ends. All of them are gone when it returns: nothing is told of them any more.
async fn carry(
    hub: &Arc<Hub>,
    peer: &str,
    session: &Session,
    streams: Vec<Stream>,
    queues: Vec<mpsc::UnboundedReceiver<Bytes>>,
    queued: &AtomicUsize,
) -> io::Error {
    let readers = FuturesUnordered::new();
    let writers = FuturesUnordered::new();
    for (lane, (stream, queue)) in streams.into_iter().zip(queues).enumerate() {
        let (receive, send) = stream.split();
        readers.push(read(hub, peer, session.number, lane, receive));
        writers.push(write(send, queue, queued));
    }
    let (mut readers, mut writers) = (readers, writers);
    tokio::select! {
        Some(error) = readers.next() => error,
        Some(error) = writers.next() => error,
        () = session.asked_to_end() => io::Error::other("ended here"),
        else => io::Error::other("a channel without lanes"),
    }
}

async fn read(hub: &Hub, peer: &str, session: u64, lane: usize, mut from: Receive) -> io::Error {
    loop {
        let frame = match frame::read(&mut from, frame::LONGEST).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return io::ErrorKind::UnexpectedEof.into(),
            Err(error) => return error,
        };
        let event = ChannelEvent::Frame { peer: peer.to_owned(), session, lane, frame };
        if hub.events.send(event).await.is_err() {
            return io::Error::other("nobody listens to the channel");
        }
    }
}

async fn write(to: Send, mut queue: mpsc::UnboundedReceiver<Bytes>, queued: &AtomicUsize) -> io::Error {
    let mut to = Abandoned(Some(to));
    let mut together = BytesMut::new();
    loop {
        // First of all this answers the opener, also when nothing is to be sent for a while.
        if let Err(error) = to.flush().await {
            return error;
        }
        let Some(first) = queue.recv().await else { return io::Error::other("ended here") };
        let mut next = Some(first);
        while let Some(frame) = next {
            together.put_u32(frame.len() as u32);
            let alone = frame.len() >= TOGETHER;
            if !alone {
                together.put_slice(&frame);
            }
            queued.fetch_sub(frame.len() + 4, Ordering::AcqRel);
            next = queue.try_recv().ok();
            if alone || next.is_none() || together.len() >= TOGETHER {
                let then = if alone { &frame[..] } else { &[] };
                if let Err(error) = to.write(&mut together, then).await {
                    return error;
                }
            }
        }
    }
}

/// Resets its stream when it is dropped: an end in the middle of a frame must not look like the last frame's end.
struct Abandoned(Option<Send>);

impl Abandoned {
    async fn write(&mut self, first: &mut BytesMut, then: &[u8]) -> io::Result<()> {
        let Some(to) = &mut self.0 else { return Ok(()) };
        to.write_all(first).await?;
        first.clear();
        to.write_all(then).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Some(to) => to.flush().await,
            None => Ok(()),
        }
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let Some(to) = self.0.take() {
            to.reset();
        }
    }
}
