//! The path of a request, in one form.
//!
//! Where the path decides the route, it is decided on, and forwarded in, its canonical form, and spellings
//! that servers read differently are refused. Where only the host decides, it is forwarded as it came.

use std::borrow::Cow;

use super::refusal::Refusal;

/// The canonical form of a path that begins with a slash: escapes of unreserved characters decoded, other
/// escapes in upper case, slashes merged, dot segments resolved (RFC 3986 section 6.2.2). Idempotent.
///
/// # Errors
/// [`Refusal::Escape`] for a percent sign that begins no escape; [`Refusal::AmbiguousPath`] for an escaped
/// slash, backslash or NUL, a backslash, and a dot segment with a parameter (`..;`).
pub(crate) fn canonical(path: &str) -> Result<Cow<'_, str>, Refusal> {
    if is_plain(path) {
        return Ok(path.into());
    }
    let decoded = decode(path)?;
    let mut segments: Vec<&str> = Vec::new();
    // Whether the path ends in a slash: after `/`, `/.` and `/..` it does.
    let mut open = true;
    for segment in decoded.split('/') {
        open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ if segment.starts_with(".;") || segment.starts_with("..;") => {
                return Err(Refusal::AmbiguousPath);
            }
            _ => segments.push(segment),
        }
    }
    let mut result = String::with_capacity(decoded.len() + 1);
    for segment in &segments {
        result.push('/');
        result.push_str(segment);
    }
    if open || result.is_empty() {
        result.push('/');
    }
    Ok(result.into())
}

/// True when there is nothing to do: no escape, no backslash, no two slashes, no segment that begins with a
/// dot.
fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.first() == Some(&b'/')
        && !bytes.iter().any(|byte| matches!(byte, b'%' | b'\\'))
        && !bytes.windows(2).any(|pair| matches!(pair, b"//" | b"/."))
}

fn decode(path: &str) -> Result<Cow<'_, str>, Refusal> {
    if path.contains('\\') {
        return Err(Refusal::AmbiguousPath);
    }
    if !path.contains('%') {
        return Ok(path.into());
    }
    let mut result = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        result.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3).ok_or(Refusal::Escape)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Refusal::Escape);
        }
        match u8::from_str_radix(digits, 16).map_err(|_| Refusal::Escape)? {
            b'/' | b'\\' | 0 => return Err(Refusal::AmbiguousPath),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => result.push(char::from(byte)),
            _ => {
                result.push('%');
                result.push_str(&digits.to_ascii_uppercase());
            }
        }
        rest = &rest[at + 3..];
    }
    result.push_str(rest);
    Ok(result.into())
}

/// True when `path` lies under `prefix`: equal, or continued by a slash. A prefix that ends in a slash
/// matches what begins with it.
pub(crate) fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_for_many_spellings() {
        for (given, wanted) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a//b///", "/a/b/"),
            ("/a/./b/../c", "/a/c"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/%61%2d%7E/x", "/a-~/x"),
            ("/a%2e%2e/b", "/a../b"),
            ("/a/%2e%2e/b", "/b"),
            ("/a%c3%a9", "/a%C3%A9"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a;v=1/b", "/a;v=1/b"),
        ] {
            assert_eq!(canonical(given).as_deref(), Ok(wanted), "{given}");
        }
    }

    #[test]
    fn refuses_what_can_be_read_in_two_ways() {
        for given in ["/a%2fb", "/a%2Fb", "/a%5cb", "/a%00", "/a\\b", "/a/..;x/b", "/a/%2e%2e;/b"] {
            assert_eq!(canonical(given), Err(Refusal::AmbiguousPath), "{given}");
        }
        for given in ["/%", "/%4", "/%zz", "/a%4"] {
            assert_eq!(canonical(given), Err(Refusal::Escape), "{given}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        assert!(is_under("/api", "/api") && is_under("/api/x", "/api") && is_under("/api/x", "/api/"));
        assert!(!is_under("/apix", "/api") && !is_under("/api", "/api/"));
        assert!(is_under("/anything", "/"));
    }
}
