//! A service named in the first bytes: NetSel's form.
//!
//! The name ends at a newline or a NUL; whatever follows, further padding aside, belongs to the service. A
//! client that sends the bare name, waits, and then talks is understood as well: what came with the first
//! read is the name.

/// Longest name with its padding, in bytes.
pub(crate) const MOST: usize = 256;

/// A first read, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FirstLine<'a> {
    /// Name, without blanks around it.
    pub(crate) name: &'a str,
    /// What goes to the service.
    pub(crate) rest: &'a [u8],
}

/// Takes the first read apart; `None` when there is no name in it: nothing but blanks, or bytes that are no
/// text. A name that fills all [`MOST`] bytes without an end is none.
pub(crate) fn parse(first: &[u8]) -> Option<FirstLine<'_>> {
    let window = &first[..first.len().min(MOST)];
    let end = memchr::memchr2(b'\n', 0, window);
    if end.is_none() && first.len() >= MOST {
        return None;
    }
    let name = std::str::from_utf8(&window[..end.unwrap_or(window.len())]).ok()?.trim();
    if name.is_empty() || name.chars().any(char::is_control) {
        return None;
    }
    let rest = end.map_or(&first[first.len()..], |end| match window[end] {
        // The original client fills a field of 256 bytes with NUL.
        0 => {
            let padding = window[end..].iter().take_while(|byte| **byte == 0).count();
            &first[end + padding..]
        }
        _ => &first[end + 1..],
    });
    Some(FirstLine { name, rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(first: &[u8]) -> Option<(&str, &[u8])> {
        parse(first).map(|line| (line.name, line.rest))
    }

    #[test]
    fn takes_the_name_and_leaves_the_rest() {
        assert_eq!(split(b"web\nGET /"), Some(("web", &b"GET /"[..])));
        assert_eq!(split(b"web\r\nhello"), Some(("web", &b"hello"[..])));
        assert_eq!(split(b"  web \n\n"), Some(("web", &b"\n"[..])));
        assert_eq!(split(b"web"), Some(("web", &b""[..])));
        assert_eq!(split(b"web\0\0\0\0"), Some(("web", &b""[..])));
        assert_eq!(split(b"web\0hello"), Some(("web", &b"hello"[..])));
    }

    #[test]
    fn a_padded_field_may_be_followed_by_data() {
        let mut first = [0; 300];
        first[..3].copy_from_slice(b"web");
        first[256..261].copy_from_slice(b"\0bin!");
        assert_eq!(split(&first), Some(("web", &first[256..])), "the padding ends where the field does");
    }

    #[test]
    fn finds_no_name_where_there_is_none() {
        for first in
            [&b""[..], b"\n", b" \t\n", b"\0web", b"\xff\xfe\n", b"a\x01b\n", &[b'a'; 256], &[b'a'; 300]]
        {
            assert_eq!(split(first), None, "{first:?}");
        }
    }
}
