//! What a client asks for, out of what it says.

use std::net::IpAddr;
use std::sync::Arc;

use crate::uri::is_service_name;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A name of the catalog's. The port that stood behind it says nothing: a service has its own.
    Service(String),
    /// An address, or a name that is none of the catalog's.
    Host(String, u16),
}

/// Reads `host:port`, or a host alone. A name without a dot, or below one of `domains`, is a service.
pub(super) fn read(text: &str, domains: &[Arc<str>]) -> Option<Target> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, after.strip_prefix(':').map(|port| port.parse().ok()).unwrap_or(Some(0))?)
        }
        None => match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => return None,
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, 0),
        },
    };
    of(host, port, domains)
}

/// The same of a host and a port.
pub(super) fn of(host: &str, port: u16, domains: &[Arc<str>]) -> Option<Target> {
    if host.parse::<IpAddr>().is_ok() {
        return Some(Target::Host(host.to_owned(), port));
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) || host.starts_with(['-', '.']) {
        return None;
    }
    match service(host, domains) {
        Some(name) => Some(Target::Service(name.to_owned())),
        None => Some(Target::Host(host.to_ascii_lowercase(), port)),
    }
}

/// The service that a name stands for, if it looks like one's.
pub(super) fn service<'a>(host: &'a str, domains: &[Arc<str>]) -> Option<&'a str> {
    let below = domains.iter().find_map(|domain| {
        let at = host.len().checked_sub(domain.len())?;
        let (head, tail) = host.split_at_checked(at)?;
        tail.eq_ignore_ascii_case(domain).then(|| head.strip_suffix('.')).flatten()
    });
    let name = below.unwrap_or(host);
    (!name.contains('.') && is_service_name(name)).then_some(name)
}

/// Any text: what is taken is a plain host or a service's name.
pub(crate) fn fuzz(text: &str) {
    match read(text, &[Arc::from("svc.internal")]) {
        Some(Target::Service(name)) => assert!(is_service_name(&name) && !name.contains('.')),
        Some(Target::Host(host, _)) => assert!(!host.is_empty() && !host.contains(['/', ' ', '@', '\0'])),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_no_dots_but_those_of_its_domain() {
        let domains = ["svc.internal", "service.consul"].map(Arc::from);
        let service = |name: &str| Some(Target::Service(name.to_owned()));
        let host = |name: &str, port| Some(Target::Host(name.to_owned(), port));
        for (text, expected) in [
            ("web", service("web")),
            ("web:80", service("web")),
            ("WEB.Svc.Internal:443", service("WEB")),
            ("web.service.consul.:1", service("web")),
            ("example.com:443", host("example.com", 443)),
            ("a.web.svc.internal:1", host("a.web.svc.internal", 1)),
            ("svc.internal:1", host("svc.internal", 1)),
            ("127.0.0.1:22", host("127.0.0.1", 22)),
            ("[::1]:22", host("::1", 22)),
            ("::1:22", None),
            ("web:", None),
            ("web:99999", None),
            ("", None),
            ("a b:1", None),
            ("user@web:1", None),
            ("web/x:1", None),
            ("-web:1", None),
        ] {
            assert_eq!(read(text, &domains), expected, "{text}");
        }
    }
}
