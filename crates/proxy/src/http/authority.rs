//! The host that a request is for, in one form.

use std::borrow::Cow;

/// A host as requests name it: lower case, no port, no dot at the end, an IPv6 address without brackets.
/// `None` when it is neither a name nor an address with an optional port. Applying it to its own result
/// changes nothing, except that an IPv6 address needs its brackets back.
pub(crate) fn host(authority: &str) -> Option<Cow<'_, str>> {
    let (host, port) = split_port(authority)?;
    if let Some(port) = port
        && !(port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
    {
        return None;
    }
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok()?;
        return Some(address.to_string().into());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 253 || !name.bytes().all(allowed) || name.split('.').any(str::is_empty)
    {
        return None;
    }
    Some(match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => name.to_ascii_lowercase().into(),
        false => name.into(),
    })
}

/// Host and port; an empty port counts as none (RFC 3986 section 3.2.3).
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if authority.starts_with('[') {
        let (host, rest) = authority.split_at(authority.find(']')? + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port).filter(|port| !port.is_empty()))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port).filter(|port| !port.is_empty()))),
        None => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_for_many_spellings() {
        for (given, wanted) in [
            ("web", "web"),
            ("WEB.Svc.Internal.", "web.svc.internal"),
            ("web:8081", "web"),
            ("web:", "web"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[::1]:80", "::1"),
            ("[0:0::1]", "::1"),
            ("my_service", "my_service"),
        ] {
            assert_eq!(host(given).as_deref(), Some(wanted), "{given}");
        }
    }

    #[test]
    fn refuses_what_is_no_host() {
        for given in [
            "",
            ":80",
            ".",
            "a..b",
            ".a",
            "a b",
            "a/b",
            "user@web",
            "web:x",
            "web:99999",
            "web:+1",
            "[::1",
            "[x]:1",
            "[::1]x",
            "wéb",
            "a:1:2",
        ] {
            assert_eq!(host(given), None, "{given}");
        }
    }
}
