//! The greeting that opens every link: who speaks which versions, and what the link is for.
//!
//! ```text
//! hello   "PRTL" | u16 length | u16 oldest | u16 newest | u32 feature level | u64 run | u64 time | u8 use | u8 flags
//! answer  u8 0 | hello          or    u8 1 | u16 length | reason in UTF-8
//! ```
//! Numbers are big-endian. `length` counts what follows it, and a reader skips what it does not know, so that a
//! later version may add fields at the end.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::config::Speaks;

const MAGIC: &[u8; 4] = b"PRTL";
const FIELDS: usize = 26;
/// Longest greeting and longest reason that are read.
const LONGEST: usize = 1024;

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The one link of a pair of nodes that carries what must be in order and in time.
    Control,
    /// Any number of streams, apart from it.
    Data,
    /// One stream, by TLS over TCP.
    Flow,
}

/// A greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Versions and feature level of the speaker.
    pub speaks: Speaks,
    /// Drawn at random when the speaker started: another one means that it started again.
    pub run: u64,
    /// The speaker's clock, ms since 1970.
    pub time_ms: u64,
    /// What the link is for.
    pub purpose: Use,
    /// For a control link: the speaker has none to this peer at the moment.
    pub needed: bool,
}

/// A greeting that is none, or a refusal.
#[derive(Debug, thiserror::Error)]
pub enum GreetingError {
    /// The peer says why it does not want the link.
    #[error("it refused: {0}")]
    Refused(String),
    /// The versions do not meet.
    #[error("{0}")]
    Versions(String),
    /// Bytes that are no greeting.
    #[error("it sent no greeting of ours: {0}")]
    Malformed(&'static str),
    /// The connection broke before the greeting ended.
    #[error("the connection broke during the greeting")]
    Broken(#[from] std::io::Error),
}

impl Hello {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(6 + FIELDS);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(FIELDS as u16).to_be_bytes());
        bytes.extend_from_slice(&self.speaks.oldest.to_be_bytes());
        bytes.extend_from_slice(&self.speaks.newest.to_be_bytes());
        bytes.extend_from_slice(&self.speaks.feature_level.to_be_bytes());
        bytes.extend_from_slice(&self.run.to_be_bytes());
        bytes.extend_from_slice(&self.time_ms.to_be_bytes());
        bytes.push(match self.purpose {
            Use::Control => 0,
            Use::Data => 1,
            Use::Flow => 2,
        });
        bytes.push(u8::from(self.needed));
        bytes
    }

    /// From the bytes behind the length.
    ///
    /// # Errors
    /// [`GreetingError::Malformed`].
    pub fn decode(fields: &[u8]) -> Result<Hello, GreetingError> {
        let short = || GreetingError::Malformed("it is too short");
        let (known, _later) = fields.split_first_chunk::<FIELDS>().ok_or_else(short)?;
        let u16_at = |at: usize| u16::from_be_bytes([known[at], known[at + 1]]);
        let u64_at = |at: usize| known[at..at + 8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let purpose = match known[24] {
            0 => Use::Control,
            1 => Use::Data,
            2 => Use::Flow,
            _ => return Err(GreetingError::Malformed("it is for a use that this version does not know")),
        };
        let feature_level = u32::from(u16_at(4)) << 16 | u32::from(u16_at(6));
        Ok(Hello {
            speaks: Speaks { oldest: u16_at(0), newest: u16_at(2), feature_level },
            run: u64_at(8),
            time_ms: u64_at(16),
            purpose,
            needed: known[25] & 1 != 0,
        })
    }
}

/// The newest version that both speak.
///
/// # Errors
/// What each speaks, in words for both sides.
pub fn common_version(here: Speaks, there: Speaks) -> Result<u16, GreetingError> {
    let newest = here.newest.min(there.newest);
    if newest >= here.oldest.max(there.oldest) {
        return Ok(newest);
    }
    let range = |speaks: Speaks| format!("{} to {}", speaks.oldest, speaks.newest);
    Err(GreetingError::Versions(format!(
        "no common wire version: one side speaks {}, the other {}; upgrade the older one first to a release between them",
        range(here),
        range(there)
    )))
}

/// Reads a greeting.
///
/// # Errors
/// [`GreetingError`].
pub async fn read<R: AsyncRead + Unpin>(from: &mut R) -> Result<Hello, GreetingError> {
    let mut head = [0; 6];
    from.read_exact(&mut head).await?;
    if !head.starts_with(MAGIC) {
        return Err(GreetingError::Malformed("it begins with other bytes"));
    }
    let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
    if length > LONGEST {
        return Err(GreetingError::Malformed("it is too long"));
    }
    let mut fields = vec![0; length];
    from.read_exact(&mut fields).await?;
    Hello::decode(&fields)
}

/// Reads the answer to a greeting.
///
/// # Errors
/// [`GreetingError`]; the refusal's reason is the peer's.
pub async fn read_answer<R: AsyncRead + Unpin>(from: &mut R) -> Result<Hello, GreetingError> {
    match from.read_u8().await? {
        0 => read(from).await,
        1 => Err(GreetingError::Refused(read_reason(from).await?)),
        _ => Err(GreetingError::Malformed("its answer is neither yes nor no")),
    }
}

/// Says no, with a reason.
///
/// # Errors
/// The connection broke.
pub async fn refuse<W: AsyncWrite + Unpin>(to: &mut W, reason: &str) -> std::io::Result<()> {
    let mut bytes = vec![1];
    put_reason(&mut bytes, reason);
    to.write_all(&bytes).await?;
    to.flush().await
}

pub(crate) fn put_reason(bytes: &mut Vec<u8>, reason: &str) {
    let end = (0..=reason.len().min(LONGEST)).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
    bytes.extend_from_slice(&(end as u16).to_be_bytes());
    bytes.extend_from_slice(&reason.as_bytes()[..end]);
}

/// A peer's words: cut to a length, and without what a terminal would obey.
pub(crate) async fn read_reason<R: AsyncRead + Unpin>(from: &mut R) -> std::io::Result<String> {
    let length = usize::from(from.read_u16().await?).min(LONGEST);
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    Ok(printable(&bytes))
}

/// Bytes of a peer as one line that can be shown.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaks(oldest: u16, newest: u16) -> Speaks {
        Speaks { oldest, newest, feature_level: 70_000 }
    }

    #[tokio::test]
    async fn a_greeting_is_read_as_it_was_written_also_with_fields_of_later_versions() {
        let hello = Hello { speaks: speaks(1, 3), run: 7, time_ms: 9, purpose: Use::Data, needed: true };
        let mut bytes = hello.encode();
        assert_eq!(read(&mut &bytes[..]).await.unwrap(), hello);
        bytes.extend_from_slice(b"later");
        bytes[5] += 5;
        assert_eq!(read(&mut &bytes[..]).await.unwrap(), hello);
        for end in 0..bytes.len() {
            assert!(read(&mut &bytes[..end]).await.is_err());
        }
    }

    #[test]
    fn the_newest_common_version_is_taken() {
        assert_eq!(common_version(speaks(1, 2), speaks(2, 3)).unwrap(), 2);
        assert_eq!(common_version(speaks(1, 5), speaks(1, 3)).unwrap(), 3);
        let refusal = common_version(speaks(1, 1), speaks(2, 3)).unwrap_err().to_string();
        assert!(refusal.contains("1 to 1") && refusal.contains("2 to 3"), "{refusal}");
    }

    #[tokio::test]
    async fn a_reason_is_cut_and_cannot_move_the_cursor() {
        let mut bytes = Vec::new();
        refuse(&mut bytes, &format!("no\u{1b}[2J{}", "ü".repeat(2000))).await.unwrap();
        let Err(GreetingError::Refused(reason)) = read_answer(&mut &bytes[..]).await else { panic!("taken") };
        assert!(reason.starts_with("no [2J") && reason.len() <= LONGEST);
    }
}
