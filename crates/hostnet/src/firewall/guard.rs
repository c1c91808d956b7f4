//! The firewall in a process of its own, so that the one which parses foreign bytes needs no CAP_NET_ADMIN.
//!
//! The protocol is closed: settings, whole sets of ports or of ranges, and the word to close go one way, reports come
//! back.
//! Each message is four bytes of length, most significant first, and JSON. There is no message that carries a
//! rule.

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use catalog::exposure::{Openings, Port};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use state::{Failure, Publisher, Reader, Report, channel};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{MissedTickBehavior, interval};

use super::{Config, Consent, Inputs};
use crate::transparent::{self, Lead, Led};

/// Longest message: every port of both protocols, each with the name of a service.
const MAX_MESSAGE: usize = 16 << 20;
/// Longest that closing is waited for.
const CLOSING: Duration = Duration::from_secs(20);
/// How often what leads virtual addresses is looked at: others flush rules.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// To the process that may.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    /// Begin with these settings, and keep these ports.
    Begin { config: Config, listening: Vec<Port>, consent: Consent },
    /// The operator has spoken.
    Consent(Consent),
    /// Exactly these ports are open from now on.
    Open { generation: u64, ports: Vec<(Port, Arc<str>)> },
    /// Exactly these ranges are led to one listener from now on.
    Lead(Lead),
    /// Remove all that is ours.
    Close,
}

/// Back from it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// What holds.
    Holds { generation: u64, failures: Vec<(String, String)> },
    /// These ranges are led, unless something failed.
    Leads { led: Led, failure: Option<String> },
    /// All of ours is gone.
    Closed,
}

/// Does the work, for whoever holds the other end: until that end is closed. What is open stays open when it is
/// closed without a word, as when the other process was killed: the next one finds it and goes on.
///
/// # Errors
/// The stream's, and messages that are none.
pub async fn serve(stream: UnixStream) -> io::Result<()> {
    let (from, mut to) = stream.into_split();
    let mut words = Messages::new(from);
    while let Some(word) = words.next::<Word>().await? {
        let goes_on = match word {
            Word::Begin { config, listening, consent } => {
                keep(config, (listening, consent), &mut words, &mut to).await?
            }
            Word::Lead(first) => return lead(first, &mut words, &mut to).await,
            word => return Err(unexpected(&word)),
        };
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// One session; false when the other end is gone. However it ends without the word to close, a firewall on trial goes.
async fn keep(
    config: Config,
    (listening, consent): (Vec<Port>, Consent),
    words: &mut Messages<impl AsyncRead + Unpin>,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<bool> {
    let (openings, doors) = channel(Openings::default());
    let (reports, reported) = channel(Report::default());
    let (consents, consent) = channel(consent);
    let inputs = Inputs { openings: doors, consent, listening, reports };
    let work = tokio::spawn(super::run(config.clone(), inputs));
    let told = follow((openings, &consents), reported, words, to).await;
    if let Ok(true) = told {
        work.await.map_err(io::Error::other)?;
        send(to, &Answer::Closed).await?;
        return told;
    }
    work.abort();
    drop(work.await);
    super::abandon(&config, consents.now().is_given).await;
    told
}

/// Passes words and reports on until the word to close; false when the other end is gone.
async fn follow(
    (openings, consents): (Publisher<Openings>, &Publisher<Consent>),
    mut reported: Reader<Report>,
    words: &mut Messages<impl AsyncRead + Unpin>,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<bool> {
    loop {
        tokio::select! {
            word = words.next::<Word>() => match word? {
                Some(Word::Open { generation, ports }) => {
                    openings.publish(Openings { generation, ports: ports.into_iter().collect() });
                }
                Some(Word::Consent(consent)) => consents.publish(consent),
                Some(Word::Close) => return Ok(true),
                Some(word @ (Word::Begin { .. } | Word::Lead(_))) => return Err(unexpected(&word)),
                None => return Ok(false),
            },
            report = reported.next() => match report {
                Some(report) => send(to, &holds(&report)).await?,
                None => return Err(io::Error::other("the firewall's work ended by itself")),
            },
        }
    }
}

/// Leads virtual addresses as told, until the end of the stream: without the other process nobody listens where they
/// are led.
async fn lead(
    mut wanted: Lead,
    words: &mut Messages<impl AsyncRead + Unpin>,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let ended = leading(&mut wanted, words, to).await;
    transparent::leave(&wanted).await;
    ended
}

/// After the word to close no connection is led any more, and those that live go on: the route stays until the end.
async fn leading(
    wanted: &mut Lead,
    words: &mut Messages<impl AsyncRead + Unpin>,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let (mut looks, mut is_closed) = (interval(LOOK_EVERY), false);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let word = tokio::select! {
            _ = looks.tick(), if !is_closed => {
                let failure = transparent::lead(wanted).await.err().map(|error| error.to_string());
                send(to, &Answer::Leads { led: wanted.led(), failure }).await?;
                continue;
            }
            word = words.next::<Word>() => word?,
        };
        match word {
            Some(Word::Lead(other)) => {
                transparent::leave(wanted).await;
                (*wanted, is_closed) = (other, false);
                looks.reset_immediately();
            }
            Some(Word::Close) => {
                transparent::close().await;
                is_closed = true;
                send(to, &Answer::Closed).await?;
            }
            Some(word @ (Word::Begin { .. } | Word::Open { .. } | Word::Consent(_))) => {
                return Err(unexpected(&word));
            }
            None => return Ok(()),
        }
    }
}

fn unexpected(word: &Word) -> io::Error {
    io::Error::other(format!("{word:?} is out of its order"))
}

fn holds(report: &Report) -> Answer {
    let failures = report.failures.iter().map(|one| (one.attempted.clone(), one.cause.clone()));
    Answer::Holds { generation: report.generation, failures: failures.collect() }
}

/// The same as [`super::run`], by the process at the other end.
pub async fn run(stream: StdStream, config: Config, inputs: Inputs) {
    let mut openings = inputs.openings.clone();
    let Err(cause) = through(stream, config, &inputs).await else { return };
    tracing::error!(%cause, "the process that sets the firewall is lost; a restart brings it back");
    loop {
        let failure = Failure {
            attempted: "open ports in the host's firewall".into(),
            cause: format!("the process that may do it is lost ({cause}); restart this one"),
        };
        let generation = openings.now().generation;
        inputs.reports.publish_if_changed(Report { generation, failures: vec![failure] });
        if openings.next().await.is_none() {
            return;
        }
    }
}

async fn through(stream: StdStream, config: Config, inputs: &Inputs) -> io::Result<()> {
    let Inputs { openings, consent, listening, reports } = inputs;
    let (mut openings, mut consent) = (openings.clone(), consent.clone());
    stream.set_nonblocking(true)?;
    // Borrowed halves: an owned one shuts the socket down when it is dropped, and with it the next session's.
    let mut stream = UnixStream::from_std(stream)?;
    let (from, mut to) = stream.split();
    let mut answers = Messages::new(from);
    let (said, listening) = (*consent.now(), listening.clone());
    send(&mut to, &Word::Begin { config, listening, consent: said }).await?;
    let mut sent = 0;
    loop {
        let wanted = openings.now();
        if wanted.generation > sent {
            let ports = wanted.ports.iter().map(|(port, service)| (*port, service.clone())).collect();
            send(&mut to, &Word::Open { generation: wanted.generation, ports }).await?;
            sent = wanted.generation;
        }
        tokio::select! {
            news = openings.next() => if news.is_none() { break },
            Some(said) = consent.next() => send(&mut to, &Word::Consent(*said)).await?,
            answer = answers.next::<Answer>() => take(answer?.ok_or_else(lost)?, reports),
        }
    }
    send(&mut to, &Word::Close).await?;
    let closed = async {
        while !matches!(answers.next::<Answer>().await?.ok_or_else(lost)?, Answer::Closed) {}
        Ok(())
    };
    tokio::time::timeout(CLOSING, closed).await.map_err(|_| io::Error::other("closing takes too long"))?
}

pub(crate) fn lost() -> io::Error {
    io::Error::other("it has ended")
}

fn take(answer: Answer, reports: &Publisher<Report>) {
    let Answer::Holds { generation, failures } = answer else { return };
    let failures = failures.into_iter().map(|(attempted, cause)| Failure { attempted, cause }).collect();
    reports.publish_if_changed(Report { generation, failures });
}

pub(crate) async fn send(to: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let mut bytes = u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
    bytes.extend(body);
    to.write_all(&bytes).await
}

/// Messages from a stream.
pub(crate) struct Messages<R> {
    from: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Messages<R> {
    pub(crate) fn new(from: R) -> Messages<R> {
        Messages { from, buffer: Vec::new() }
    }

    /// The next one; `None` at the end of the stream. Cancel safe.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(serde_json::from_slice(&message)?));
            }
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(length) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_MESSAGE {
            return Err(io::Error::other(format!("a message of {length} bytes")));
        }
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        let rest = self.buffer.split_off(4 + length);
        let message = std::mem::replace(&mut self.buffer, rest);
        Ok(Some(message[4..].to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use catalog::exposure::Protocol;

    use super::super::Mode;
    use super::*;

    fn config() -> Config {
        Config { mode: Mode::Off, ..Config::default() }
    }

    #[tokio::test]
    async fn a_session_opens_reports_closes_and_is_followed_by_another() {
        let (ours, theirs) = StdStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let child = tokio::spawn(serve(UnixStream::from_std(theirs).unwrap()));
        for _ in 0..2 {
            let (openings, doors) = channel(Openings::default());
            let (reports, reported) = channel(Report::default());
            let inputs = Inputs {
                openings: doors,
                consent: channel(Consent::default()).1,
                listening: Vec::new(),
                reports,
            };
            let parent = tokio::spawn(run(ours.try_clone().unwrap(), config(), inputs));
            let port = Port { protocol: Protocol::Tcp, number: 443 };
            let ports: BTreeMap<_, _> = [(port, "web".into())].into();
            openings.publish(Openings { generation: 1, ports });
            let report = tokio::time::timeout(CLOSING, reported.at_least(1)).await.unwrap().unwrap();
            assert_eq!(report.failures, []);
            drop(openings);
            tokio::time::timeout(CLOSING, parent).await.unwrap().unwrap();
        }
        drop(ours);
        tokio::time::timeout(CLOSING, child).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_process_that_is_lost_is_reported() {
        let (ours, theirs) = StdStream::pair().unwrap();
        drop(theirs);
        let (openings, doors) = channel(Openings { generation: 1, ..Openings::default() });
        let (reports, reported) = channel(Report::default());
        let inputs = Inputs {
            openings: doors,
            consent: channel(Consent::default()).1,
            listening: Vec::new(),
            reports,
        };
        let parent = tokio::spawn(run(ours, config(), inputs));
        let report = tokio::time::timeout(CLOSING, reported.at_least(1)).await.unwrap().unwrap();
        assert!(report.failures[0].cause.contains("lost"), "{report:?}");
        drop(openings);
        tokio::time::timeout(CLOSING, parent).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_no_message_ends_it() {
        for bytes in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x02{}", b"\0\0\0\x07\"Close\""] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let (_, mut to) = ours.into_split();
            to.write_all(bytes).await.unwrap();
            drop(to);
            assert!(serve(theirs).await.is_err(), "{bytes:?}");
        }
    }
}
