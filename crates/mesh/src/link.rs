//! One QUIC connection to a peer whose certificate was believed and whose greeting was taken.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use quinn::Connection;
use rustls::pki_types::{CertificateDer, UnixTime};

use crate::gate::Seat;
use crate::hello::{Hello, Use, printable};
use crate::identity;
use crate::judge::{Disbelief, Peer, Role};
use crate::trust::Trust;

/// Why a link is ended, as the other side gets to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// A newer link of the pair took its place.
    Replaced = 1,
    /// There is one already.
    NotNeeded = 2,
    /// No common version, or a greeting that is none.
    Greeting = 3,
    /// The certificate is not believed, or no longer.
    Disbelieved = 4,
    /// The node leaves.
    Leaving = 5,
    /// More than allowed.
    Limit = 6,
}

/// A link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) peer: Peer,
    pub(crate) hello: Hello,
    pub(crate) version: u16,
    pub(crate) dialled: bool,
    pub(crate) since: SystemTime,
    /// For how much the peer's clock is ahead of ours, in ms; its delay is not taken off.
    pub(crate) clock_ahead_ms: i64,
    chain: Vec<CertificateDer<'static>>,
    judged_at: UnixTime,
    /// Held as long as the link.
    _seat: Mutex<Option<Seat>>,
}

impl Link {
    pub(crate) fn new(
        connection: Connection,
        proof: Proof,
        hello: Hello,
        version: u16,
        dialled: bool,
        seat: Option<Seat>,
    ) -> Link {
        Link {
            connection,
            peer: proof.peer,
            hello,
            version,
            dialled,
            since: SystemTime::now(),
            clock_ahead_ms: ahead(hello.time_ms),
            chain: proof.chain,
            judged_at: proof.judged_at,
            _seat: Mutex::new(seat),
        }
    }

    pub(crate) fn purpose(&self) -> Use {
        self.hello.purpose
    }

    pub(crate) fn is_live(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    pub(crate) fn round_trip(&self) -> Duration {
        self.connection.rtt()
    }

    pub(crate) fn close(&self, why: Close, reason: &str) {
        close(&self.connection, why, reason);
    }

    /// Judges the peer by another trust, at the time of its handshake: a link outlives its certificate's last
    /// day, not its denial and not its root's removal.
    pub(crate) fn judge_again(&self, trust: &Trust) -> Result<(), Disbelief> {
        let role = if self.dialled { Role::Server } else { Role::Client };
        trust.judge_as(&self.peer.name, &self.chain, role, self.judged_at).map(drop)
    }
}

/// Who is at the other end, and by what.
pub(crate) struct Proof {
    pub(crate) peer: Peer,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) judged_at: UnixTime,
    /// Every name that the certificate has.
    pub(crate) names: Vec<String>,
}

impl Proof {
    /// Of a chain that TLS has verified possession for; `expect` is whom the dialler called.
    pub(crate) fn of(
        chain: Option<Vec<CertificateDer<'static>>>,
        trust: &Trust,
        expect: Option<&str>,
    ) -> Result<Proof, Disbelief> {
        let chain = chain.ok_or(Disbelief::NoCertificate)?;
        let judged_at = trust.time();
        let peer = match expect {
            Some(name) => trust.judge_as(name, &chain, Role::Server, judged_at)?,
            None => trust.judge(&chain, Role::Client, judged_at)?,
        };
        let names = match expect {
            Some(name) => vec![name.to_owned()],
            None => identity::names_of(&chain[0], &trust.naming),
        };
        Ok(Proof { peer, chain, judged_at, names })
    }
}

/// The certificate chain that the peer of a QUIC connection showed.
pub(crate) fn chain_of(connection: &Connection) -> Option<Vec<CertificateDer<'static>>> {
    connection.peer_identity()?.downcast().ok().map(|chain| *chain)
}

/// The protocol that was agreed on.
pub(crate) fn alpn_of(connection: &Connection) -> Option<Vec<u8>> {
    let data = connection.handshake_data()?.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?;
    data.protocol
}

pub(crate) fn close(connection: &Connection, why: Close, reason: &str) {
    // QUIC cuts what does not fit its packet.
    connection.close((why as u32).into(), reason.as_bytes());
}

/// Why a connection ended, in words, and whether it was to be expected.
pub(crate) fn ending(error: &quinn::ConnectionError) -> (String, bool) {
    use quinn::ConnectionError::{ApplicationClosed, ConnectionClosed, LocallyClosed, TimedOut};
    match error {
        ApplicationClosed(closed) => {
            let code = closed.error_code.into_inner();
            let expected = [Close::Replaced, Close::NotNeeded].iter().any(|why| *why as u64 == code);
            (format!("the peer ended it: {}", printable(&closed.reason)), expected)
        }
        ConnectionClosed(closed) if let Some(alert) = alert(u64::from(closed.error_code)) => {
            (format!("the peer did not believe this node: {alert}"), false)
        }
        LocallyClosed => ("ended here".to_owned(), true),
        TimedOut => ("the peer was silent for too long".to_owned(), false),
        other => (with_causes(other), false),
    }
}

/// Whether the peer ended it because of this node's certificate.
pub(crate) fn is_disbelief(error: &quinn::ConnectionError) -> bool {
    let quinn::ConnectionError::ConnectionClosed(closed) = error else { return false };
    alert(u64::from(closed.error_code)).is_some()
}

/// What TLS's alerts (RFC 8446 section 6) say of a certificate, out of a code of QUIC (RFC 9001 section 4.8).
fn alert(code: u64) -> Option<&'static str> {
    Some(match code.checked_sub(0x100)? {
        42 | 43 => "its certificate is bad",
        44 => "its key is denied",
        45 => "its certificate is out of its time",
        46 | 49 => "its certificate names no node of that cluster",
        48 => "no root of that cluster signed its certificate",
        116 => "it showed no certificate",
        _ => return None,
    })
}

/// An error and what caused it, on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let more = deeper.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = deeper.source();
    }
    text
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn ahead(theirs: u64) -> i64 {
    let (theirs, ours) = (i64::try_from(theirs), i64::try_from(now_ms()));
    theirs.unwrap_or(i64::MAX).saturating_sub(ours.unwrap_or(i64::MAX))
}
