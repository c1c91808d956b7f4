//! What both spellings answer with, and who may ask.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame};

/// Largest request, in bytes.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// Any answer's body.
pub(crate) type Reply = BoxBody<Bytes, Infallible>;

/// A secret that is compared in constant time and never printed.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    pub(crate) fn new(text: &str) -> Token {
        Token(text.trim().to_owned())
    }

    /// True when `shown` is the token; the time taken depends on the lengths only.
    pub(crate) fn is(&self, shown: &str) -> bool {
        let (a, b) = (self.0.as_bytes(), shown.as_bytes());
        let differing = a.iter().zip(b).fold(0u8, |seen, (a, b)| seen | (a ^ b));
        a.len() == b.len() && std::hint::black_box(differing) == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why a body could not be read.
pub(crate) enum BodyError {
    TooLarge,
    Slow,
    Broken(String),
}

impl BodyError {
    pub(crate) fn sentence(&self) -> String {
        match self {
            BodyError::TooLarge => format!("the body is over {MAX_BODY} bytes"),
            BodyError::Slow => "the body did not arrive within 10 s".into(),
            BodyError::Broken(why) => format!("the body could not be read: {why}"),
        }
    }
}

/// Reads a whole body, bounded in size and time.
pub(crate) async fn collect<B>(body: B) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    use http_body_util::{BodyExt, LengthLimitError, Limited};
    let collected = Limited::new(body, MAX_BODY).collect();
    match tokio::time::timeout(std::time::Duration::from_secs(10), collected).await {
        Err(_) => Err(BodyError::Slow),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(error)) => Err(BodyError::Broken(error.to_string())),
    }
}

/// A body of these frames.
pub(crate) fn frames(frames: Vec<Frame<Bytes>>) -> Reply {
    use http_body_util::{BodyExt, StreamBody};
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames.into_iter().map(Ok))))
}

/// A body of these bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Reply {
    use http_body_util::{BodyExt, Full};
    Full::new(bytes.into()).boxed()
}
