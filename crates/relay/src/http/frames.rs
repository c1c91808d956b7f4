//! Bodies as HTTP/2 has them, in frames of a stream: what a peer sends, and what it is sent.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};

use super::shared::Piping;

/// The body of a message that a peer sends.
#[derive(Debug)]
pub(super) struct Received {
    stream: RecvStream,
    /// What its head said of the rest of it.
    length: Option<u64>,
    data_over: bool,
    /// Of an answer: the request's body, which may go on as long as this does, and after an answer that came to its end.
    piping: Option<Piping>,
}

impl Received {
    /// What follows a head with these fields.
    pub(super) fn new(stream: RecvStream, head: &HeaderMap, piping: Option<Piping>) -> Received {
        let length = head.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let mut received = Received { stream, length, data_over: false, piping };
        received.settle();
        received
    }

    pub(super) fn is_over(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self.length {
            _ if self.is_over() => SizeHint::with_exact(0),
            Some(length) => SizeHint::with_exact(length),
            None => SizeHint::new(),
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_over {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Whoever asks has room for it. Fails only on a stream that is over.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    self.length = self.length.map(|length| length.saturating_sub(data.len() as u64));
                    self.settle();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                // All of the message is here, and the peer wants no more of ours (RFC 9113 section 8.1).
                Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_over = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        self.settle();
        Poll::Ready(match trailers {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => Some(Err(error)),
        })
    }

    fn settle(&mut self) {
        if self.is_over()
            && let Some(piping) = self.piping.take()
        {
            piping.go_on();
        }
    }
}

/// Sends a body on a stream, frame by frame as it comes. One that breaks off is reset for `reason`; ends early where the
/// peer resets the stream.
pub async fn pipe<B>(body: B, mut stream: SendStream<Bytes>, reason: Reason)
where
    B: http_body::Body<Data = Bytes>,
{
    let mut body = pin!(body);
    loop {
        let frame = poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => body.as_mut().poll_frame(cx).map(Some),
        });
        // Whatever fails below fails because the stream is over, and there is nobody to tell.
        let Some(frame) = frame.await else { return };
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let is_last = body.is_end_stream();
                    if !has_room(&mut stream, data.len()).await || stream.send_data(data, is_last).is_err() {
                        return;
                    }
                    if is_last {
                        return;
                    }
                }
                Err(frame) => {
                    let _ = frame.into_trailers().map(|trailers| stream.send_trailers(trailers));
                    return;
                }
            },
            Some(Err(_)) => return stream.send_reset(reason),
            None => {
                let _ = stream.send_data(Bytes::new(), true);
                return;
            }
        }
    }
}

/// Waits until the peer takes some of `count` bytes, so that one part of a body is held here at most; false when it
/// takes no more. No more than a byte is claimed meanwhile: streams that wait must not take the window from others.
async fn has_room(stream: &mut SendStream<Bytes>, count: usize) -> bool {
    if count == 0 {
        return true;
    }
    stream.reserve_capacity(1);
    while stream.capacity() == 0 {
        match poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return false,
        }
    }
    true
}
