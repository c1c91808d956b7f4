//! What opens every stream: its kind, and one answer to it.
//!
//! ```text
//! preface  u8 length (1 to 32) | kind, in lower case letters, digits and "-"
//! answer   u8 0                     taken
//!          u8 1 | u16 length | text   refused, with the reason
//! ```
//! The opener does not wait for the answer: it travels ahead of the first bytes that come back.

use std::fmt;
use std::io;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest kind.
pub const LONGEST_KIND: usize = 32;

/// What a stream is for. Both ends name it alike; the acceptor has registered it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    letters: [u8; LONGEST_KIND],
    length: u8,
}

impl Kind {
    /// A kind, checked when the program is compiled if it is a constant.
    ///
    /// # Panics
    /// If it is empty, too long, or has other letters than a kind may have.
    pub const fn of(name: &'static str) -> Kind {
        match Kind::read(name.as_bytes()) {
            Some(kind) => kind,
            None => {
                #[allow(clippy::panic, reason = "kinds are constants of the program")]
                {
                    panic!("a kind is 1 to 32 lower case letters, digits or hyphens")
                }
            }
        }
    }

    /// A kind from a peer's bytes.
    pub const fn read(name: &[u8]) -> Option<Kind> {
        if name.is_empty() || name.len() > LONGEST_KIND {
            return None;
        }
        let mut letters = [0; LONGEST_KIND];
        let mut at = 0;
        while at < name.len() {
            if !matches!(name[at], b'a'..=b'z' | b'0'..=b'9' | b'-') {
                return None;
            }
            letters[at] = name[at];
            at += 1;
        }
        Some(Kind { letters, length: name.len() as u8 })
    }

    fn as_bytes(&self) -> &[u8] {
        &self.letters[..usize::from(self.length)]
    }

    /// The preface of a stream of this kind.
    pub fn preface(&self, to: &mut BytesMut) {
        to.put_u8(self.length);
        to.put_slice(self.as_bytes());
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads a preface.
///
/// # Errors
/// A stream that ends early, or bytes that are no kind ([`io::ErrorKind::InvalidData`]).
pub async fn read<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<Kind> {
    let mut bytes = [0; LONGEST_KIND];
    let length = usize::from(from.read_u8().await?);
    let none = || io::Error::new(io::ErrorKind::InvalidData, "the stream does not begin with a kind");
    let name = bytes.get_mut(..length).ok_or_else(none)?;
    from.read_exact(name).await?;
    Kind::read(name).ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kind_is_read_as_it_was_written_and_nothing_else_is() {
        let mut bytes = BytesMut::new();
        Kind::of("log-1").preface(&mut bytes);
        assert_eq!(read(&mut &bytes[..]).await.unwrap(), Kind::of("log-1"));
        assert_eq!(read(&mut &bytes[..3]).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        for bad in [&b"\x00"[..], b"\x03aBc", b"\x21aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", b"GET / HTTP"] {
            assert!(read(&mut &bad[..]).await.is_err());
        }
    }
}
