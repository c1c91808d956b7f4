//! px's records on QUIC streams: whoever speaks px may send them here, and pings are answered.
//!
//! A stream in both directions is answered on itself, one in a single direction on another of the same connection.
//! `from` must be the name in the sender's certificate; px itself believed anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mesh::{Guest, Receive, Send, Visit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, mpsc};

use crate::message::{Content, Message};
use crate::parser::Parser;

/// Protocols that px speakers ask for: our own word, and what px's library asks for when it is told nothing.
const ALPNS: [&[u8]; 2] = [b"px", b"h3"];
/// Bad records on one stream after which it is not listened to any more.
const PATIENCE: usize = 100;

/// What the mesh must take for this dialect.
pub fn guests(without_certificate: bool) -> Vec<Guest> {
    ALPNS.iter().map(|alpn| Guest { alpn: alpn.to_vec(), without_certificate }).collect()
}

/// What was heard, counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Records that were read.
    pub records: AtomicU64,
    /// Records that were none, or too long.
    pub bad: AtomicU64,
    /// Records in another's name, or for another node.
    pub misdirected: AtomicU64,
    /// Pings that were answered.
    pub answered: AtomicU64,
}

/// Serves those who speak px, until the mesh is closed.
pub async fn serve(id: String, mut visits: mpsc::Receiver<Visit>, counts: Arc<Counts>) {
    let id: Arc<str> = id.into();
    while let Some(visit) = visits.recv().await {
        tokio::spawn(attend(id.clone(), Arc::new(visit), counts.clone()));
    }
}

async fn attend(id: Arc<str>, visit: Arc<Visit>, counts: Arc<Counts>) {
    let back = Arc::new(Mutex::new(None));
    loop {
        let stream = match visit.accept().await {
            Ok(Some(stream)) => stream,
            Ok(None) => return,
            Err(error) => return tracing::debug!(from = %visit.from, %error, "px connection ended"),
        };
        let heard =
            Hearing { id: id.clone(), visit: visit.clone(), counts: counts.clone(), back: back.clone() };
        tokio::spawn(async move { heard.listen(stream.receive, stream.send).await });
    }
}

struct Hearing {
    id: Arc<str>,
    visit: Arc<Visit>,
    counts: Arc<Counts>,
    /// The stream by which those of one direction are answered, once there is one.
    back: Arc<Mutex<Option<Send>>>,
}

impl Hearing {
    async fn listen(&self, mut from: Receive, mut to: Option<Send>) {
        let mut parser = Parser::default();
        let mut bytes = vec![0; 16 << 10];
        let mut patience = PATIENCE;
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            parser.append(&bytes[..length]);
            for record in parser.by_ref() {
                let message = match record {
                    Ok(message) => message,
                    Err(bad) => {
                        self.counts.bad.fetch_add(1, Ordering::Relaxed);
                        tracing::debug!(from = %self.visit.from, %bad, "px record dropped");
                        patience = patience.saturating_sub(1);
                        if patience == 0 {
                            return self.visit.close("too many records that are none");
                        }
                        continue;
                    }
                };
                let Some(answer) = self.answer(message) else { continue };
                if let Err(error) = self.send(&answer, &mut to).await {
                    return tracing::debug!(from = %self.visit.from, %error, "px answer not sent");
                }
            }
        }
        if let Some(mut to) = to {
            let _ = to.shutdown().await;
        }
    }

    fn answer(&self, message: Message) -> Option<Message> {
        self.counts.records.fetch_add(1, Ordering::Relaxed);
        let proven =
            self.visit.peer.as_ref().is_none_or(|peer| peer.name.eq_ignore_ascii_case(&message.from));
        if !proven || *message.to != *self.id {
            self.counts.misdirected.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(from = %self.visit.from, proven, "px record in another's name or for another node");
            return None;
        }
        let Content::Ping { seqnum, message: text } = message.content else { return None };
        let content = Content::Pong { seqnum, message: text };
        Some(Message { from: self.id.to_string(), to: message.from, content })
    }

    async fn send(&self, answer: &Message, to: &mut Option<Send>) -> std::io::Result<()> {
        let record = answer.to_record()?;
        self.counts.answered.fetch_add(1, Ordering::Relaxed);
        if let Some(to) = to {
            to.write_all(&record).await?;
            return to.flush().await;
        }
        let mut back = self.back.lock().await;
        if back.is_none() {
            *back = Some(self.visit.open().await?);
        }
        match &mut *back {
            Some(to) => {
                to.write_all(&record).await?;
                to.flush().await
            }
            None => Ok(()),
        }
    }
}
