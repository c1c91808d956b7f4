//! Joining: a protocol of its own (ALPN `portolan-join`) for those who have no certificate yet.
//!
//! The caller knows the hash of a root's key, from its token. It checks the server against that hash during the
//! handshake, so nothing secret is sent before the server is known. One request, one reply: a frame with the request;
//! then a byte, 0 or 1, and a frame with the reply or the reason. What is in them is not known here.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quinn::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::frame;
use crate::gate::Seat;
use crate::hello::printable;
use crate::link::{self, Close};
use crate::mesh::Shared;

mod call;

pub use call::{JoinError, call};

/// Longest request and reply, in bytes.
pub const LONGEST: usize = 256 << 10;
/// How long a join may take.
const TIME: Duration = Duration::from_secs(20);

/// Somebody wants to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// From where.
    pub from: SocketAddr,
    /// What it says.
    pub bytes: Vec<u8>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;
type Callback = Arc<dyn Fn(JoinRequest) -> Answer + Send + Sync>;

/// Who answers, and how often.
pub(crate) struct Joins {
    callback: Mutex<Option<Callback>>,
    in_progress: Semaphore,
    rate: Mutex<Rate>,
}

#[derive(Debug)]
struct Rate {
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Joins {
    pub(crate) fn new(per_second: u32) -> Joins {
        let rate = f64::from(per_second);
        Joins {
            callback: Mutex::default(),
            in_progress: Semaphore::new(per_second.max(1) as usize),
            rate: Mutex::new(Rate { per_second: rate, tokens: rate, at: Instant::now() }),
        }
    }

    pub(crate) fn set<F, A>(&self, answer: F)
    where
        F: Fn(JoinRequest) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Vec<u8>, String>> + Send + 'static,
    {
        let callback: Callback = Arc::new(move |request| Box::pin(answer(request)));
        *self.callback.lock().unwrap_or_else(PoisonError::into_inner) = Some(callback);
    }

    async fn answer(&self, request: JoinRequest) -> Result<Vec<u8>, String> {
        let callback = self.callback.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match callback {
            Some(callback) => callback(request).await,
            None => Err("this node admits nobody; ask a server of the cluster".to_owned()),
        }
    }

    fn may_begin(&self, now: Instant) -> bool {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(rate.at).as_secs_f64();
        rate.tokens = (rate.tokens + passed * rate.per_second).min(rate.per_second);
        rate.at = now;
        let may = rate.tokens >= 1.0;
        if may {
            rate.tokens -= 1.0;
        }
        may
    }
}

impl fmt::Debug for Joins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Joins")
    }
}

/// Serves one who joins.
pub(crate) async fn serve(shared: &Arc<Shared>, connection: Connection, _seat: Seat) {
    if !shared.joins.may_begin(Instant::now()) {
        return link::close(&connection, Close::Limit, "too many nodes join at once; try again in a moment");
    }
    let from = connection.remote_address();
    match tokio::time::timeout(TIME, exchange(shared, &connection)).await {
        Ok(Ok(())) => {
            let _ = tokio::time::timeout(TIME, connection.closed()).await;
        }
        Ok(Err(error)) => {
            tracing::info!(%from, error, "join failed");
            link::close(&connection, Close::Greeting, &error);
        }
        Err(_) => link::close(&connection, Close::Greeting, "joining took too long"),
    }
}

async fn exchange(shared: &Shared, connection: &Connection) -> Result<(), String> {
    let text = |error: std::io::Error| link::with_causes(&error);
    let (mut send, mut receive) = connection.accept_bi().await.map_err(|error| link::ending(&error).0)?;
    let request = frame::read(&mut receive, LONGEST).await.map_err(text)?;
    let bytes = request.ok_or("the request is missing")?.to_vec();
    let _turn = shared.joins.in_progress.acquire().await.map_err(|_| "the node leaves")?;
    let reply = shared.joins.answer(JoinRequest { from: connection.remote_address(), bytes }).await;
    let (word, bytes) = match reply {
        Ok(bytes) if bytes.len() <= LONGEST => (0, bytes),
        Ok(_) => (1, b"the reply is too long".to_vec()),
        Err(reason) => (1, reason.into_bytes()),
    };
    send.write_u8(word).await.map_err(text)?;
    frame::write(&mut send, &bytes).await.map_err(text)?;
    send.shutdown().await.map_err(text)
}

/// Reads the reply on the caller's side.
async fn read_reply(receive: &mut quinn::RecvStream) -> std::io::Result<Result<Vec<u8>, String>> {
    let word = receive.read_u8().await?;
    let reply = frame::read(receive, LONGEST).await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok(if word == 0 { Ok(reply.to_vec()) } else { Err(printable(&reply)) })
}
