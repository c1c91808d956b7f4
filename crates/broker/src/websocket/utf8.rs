//! UTF-8 that arrives in pieces, cut anywhere (RFC 6455, section 8.1). What cannot become right any more is noticed at
//! its first byte and not at the end of its message.

/// The start of a character whose rest has not come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Utf8 {
    begun: [u8; 4],
    length: usize,
}

/// Bytes that are no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Invalid;

impl Utf8 {
    /// Takes the next piece.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Invalid> {
        while self.length > 0 {
            let Some((first, rest)) = bytes.split_first() else { return Ok(()) };
            self.begun[self.length] = *first;
            self.length += 1;
            bytes = rest;
            match std::str::from_utf8(&self.begun[..self.length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_some() => return Err(Invalid),
                Err(_) => {}
            }
        }
        let Err(error) = std::str::from_utf8(bytes) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(Invalid);
        }
        let rest = &bytes[error.valid_up_to()..];
        self.length = rest.len();
        self.begun[..rest.len()].copy_from_slice(rest);
        Ok(())
    }

    /// The end of a message: no character may be left half.
    pub(super) fn end(&mut self) -> Result<(), Invalid> {
        let is_whole = self.length == 0;
        *self = Utf8::default();
        if is_whole { Ok(()) } else { Err(Invalid) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_the_same_of_pieces_as_of_the_whole() {
        for text in [
            &b"plain"[..],
            "κόσμε 日本 \u{10ffff}".as_bytes(),
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
            b"\xf4\x90\x80\x80",
            b"\xc0\x80",
            b"\xed\xbf\xbf",
            b"\x80",
            b"\xe2\x82",
            b"",
        ] {
            for size in 1..6 {
                let mut utf8 = Utf8::default();
                let pieces = text.chunks(size).try_for_each(|piece| utf8.push(piece));
                let verdict = pieces.and_then(|()| utf8.end());
                assert_eq!(verdict.is_ok(), std::str::from_utf8(text).is_ok(), "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn what_cannot_become_right_is_noticed_at_once() {
        let mut utf8 = Utf8::default();
        assert_eq!(utf8.push(b"\xf4"), Ok(()));
        assert_eq!(utf8.push(b"\x90"), Err(Invalid));
    }
}
