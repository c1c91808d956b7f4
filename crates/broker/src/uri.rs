//! URIs as the ipcd seed writes them, and as RFC 3986 does.
//!
//! ```text
//! scheme "://" [ credentials "@" ] host [ ":" port ] [ "/" service ]
//! credentials   user ":" secret            RFC 3986, section 3.2.1
//!               user "@" secret ":" host   the seed's: `tls://user@passwd:example.com:9000/authd`
//! unix:///service, unix://service          a name and no host
//! ```

use std::fmt;

/// Longest URI, in bytes.
const LONGEST: usize = 2048;

/// Where something is, and by what it is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct Uri {
    /// Lower case letters, digits, `+`, `-`, `.`.
    pub scheme: String,
    /// Who asks there, and what proves it.
    pub credentials: Option<Credentials>,
    /// Host name or address without brackets; empty for `unix`.
    pub host: String,
    /// Port.
    pub port: Option<u16>,
    /// Service behind the host; without the slash.
    pub service: Option<String>,
}

/// A user or an identity with its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Who.
    pub user: String,
    /// What only they know; empty when none was given.
    pub secret: String,
    /// True for the seed's form, which RFC 3986 reads otherwise.
    pub is_seed_form: bool,
}

/// Text that is no URI of these forms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// No `://`.
    #[error("it has no \"://\"")]
    NoScheme,
    /// Too long, or with control characters or spaces.
    #[error("it is longer than {LONGEST} bytes, or has spaces or control characters in it")]
    Text,
    /// The scheme has other letters than a scheme has.
    #[error("\"{0}\" is no scheme")]
    Scheme(String),
    /// No host where one is needed.
    #[error("it names no host")]
    NoHost,
    /// Something that is no host's name and no address.
    #[error("\"{0}\" is no host")]
    Host(String),
    /// A port that is none.
    #[error("\"{0}\" is no port")]
    Port(String),
    /// A service that could be a path to somewhere else.
    #[error("\"{0}\" is no service's name")]
    Service(String),
}

impl Uri {
    /// Reads a URI. The secret is not in any error.
    ///
    /// # Errors
    /// [`UriError`].
    pub fn parse(text: &str) -> Result<Uri, UriError> {
        if text.len() > LONGEST || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(UriError::Text);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UriError::NoScheme)?;
        let scheme = scheme.to_ascii_lowercase();
        let mut letters = scheme.bytes();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !letters.next().is_some_and(|first| first.is_ascii_alphabetic()) || !letters.all(plain) {
            return Err(UriError::Scheme(scheme));
        }
        let (authority, path) =
            rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
        if scheme == "unix" {
            let name = if authority.is_empty() { path } else { authority };
            let extra = if authority.is_empty() { "" } else { path };
            let service = service(name)?.filter(|_| extra.is_empty());
            let service = Some(service.ok_or_else(|| UriError::Service(name.to_owned()))?);
            return Ok(Uri { scheme, credentials: None, host: String::new(), port: None, service });
        }
        let (credentials, place) = credentials(authority);
        let (host, port) = host_and_port(place)?;
        Ok(Uri { scheme, credentials, host, port, service: service(path)? })
    }

    /// Host and port as they are dialed.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        self.port.map_or(host.clone(), |port| format!("{host}:{port}"))
    }
}

/// The seed separates user and secret by `@`, and then has two colons at least behind it; a port is digits.
fn credentials(authority: &str) -> (Option<Credentials>, &str) {
    let Some((user, rest)) = authority.rsplit_once('@') else { return (None, authority) };
    let seed =
        |secret: &str| Credentials { user: user.to_owned(), secret: secret.to_owned(), is_seed_form: true };
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !rest.starts_with('[')
        && let Some((before, last)) = rest.rsplit_once(':')
    {
        if !is_port(last) {
            return (Some(seed(before)), last);
        }
        if let Some((secret, host)) = before.rsplit_once(':') {
            return (Some(seed(secret)), &rest[rest.len() - host.len() - 1 - last.len()..]);
        }
    }
    let (user, secret) = user.split_once(':').unwrap_or((user, ""));
    (Some(Credentials { user: user.into(), secret: secret.into(), is_seed_form: false }), rest)
}

fn host_and_port(place: &str) -> Result<(String, Option<u16>), UriError> {
    let number = |text: &str| text.parse().map_err(|_| UriError::Port(text.to_owned()));
    if let Some(rest) = place.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(|| UriError::Host(place.to_owned()))?;
        let address = host.parse::<std::net::Ipv6Addr>().map_err(|_| UriError::Host(host.to_owned()))?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(number(port)?),
            None if after.is_empty() => None,
            None => return Err(UriError::Port(after.to_owned())),
        };
        return Ok((address.to_string(), port));
    }
    let (host, port) = match place.split_once(':') {
        Some((host, port)) => (host, Some(number(port)?)),
        None => (place, None),
    };
    if host.is_empty() {
        return Err(UriError::NoHost);
    }
    if is_host(host) { Ok((host.to_owned(), port)) } else { Err(UriError::Host(host.to_owned())) }
}

/// A host's name, or an IPv4 address, and nothing that a program could take for an option.
pub fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=253).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(plain)
}

fn service(path: &str) -> Result<Option<String>, UriError> {
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        return Ok(None);
    }
    if is_service_name(path) { Ok(Some(path.to_owned())) } else { Err(UriError::Service(path.to_owned())) }
}

/// A name that is one part of a path at most, and no way out of a folder: 1 to 100 bytes.
pub fn is_service_name(name: &str) -> bool {
    let odd = |c: char| c == '/' || c == ';' || c.is_control() || c.is_whitespace();
    !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && !name.contains(odd)
}

impl fmt::Display for Uri {
    /// The URI without its credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())?;
        self.service.as_ref().map_or(Ok(()), |service| write!(f, "/{service}"))
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uri({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts = (String, Option<(String, String)>, String, Option<u16>, Option<String>);

    fn parts(text: &str) -> Parts {
        let uri = Uri::parse(text).unwrap();
        let who = uri.credentials.map(|who| (who.user, who.secret));
        (uri.scheme, who, uri.host, uri.port, uri.service)
    }

    #[test]
    fn credentials_are_read_in_the_seeds_form_and_in_the_rfcs() {
        let expected = |host: &str, port| {
            let who = Some(("user".to_owned(), "passwd".to_owned()));
            ("tls".to_owned(), who, host.to_owned(), port, Some("authd".to_owned()))
        };
        assert_eq!(parts("tls://user@passwd:example.com:9000/authd"), expected("example.com", Some(9000)));
        assert_eq!(parts("tls://user:passwd@example.com:9000/authd"), expected("example.com", Some(9000)));
        assert_eq!(parts("tls://user@passwd:example.com/authd"), expected("example.com", None));
        assert_eq!(parts("TLS://user:passwd@[2001:db8::1]:9000/authd"), expected("2001:db8::1", Some(9000)));
        assert_eq!(parts("tls://user:passwd@[2001:db8::1]/authd/"), expected("2001:db8::1", None));
        let odd = Uri::parse("tls://user@pass:word:example.com:9000/authd").unwrap().credentials.unwrap();
        assert_eq!((&*odd.secret, odd.is_seed_form), ("pass:word", true));
    }

    #[test]
    fn secrets_are_not_shown() {
        let uri = Uri::parse("tls://user@passwd:example.com:9000/authd").unwrap();
        assert_eq!(uri.to_string(), "tls://example.com:9000/authd");
        assert!(!format!("{uri:?}").contains("passwd"));
    }

    #[test]
    fn unix_has_a_name_with_two_slashes_or_three() {
        for text in ["unix:///pongd", "unix://pongd"] {
            assert_eq!(Uri::parse(text).unwrap().service.as_deref(), Some("pongd"));
        }
        for text in ["unix://", "unix:///", "unix:///../etc", "unix:///a/b", "unix://a/b", "unix:///.hidden"]
        {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_shell_or_a_path_would_read_otherwise_is_refused() {
        for text in [
            "",
            "tcp",
            "tcp:example.com",
            "://host",
            "1tcp://host",
            "tcp://",
            "tcp:///pongd",
            "tcp://-o/x",
            "tcp://$(id)/x",
            "tcp://a;b/x",
            "tcp://host:99999/x",
            "tcp://host:/x",
            "tcp://host:1/../x",
            "tcp://host:1/a/b",
            "tcp://ho st/x",
            "tcp://host\0/x",
            "tcp://[::1/x",
            "tcp://[::1]x/x",
            "tcp://`id`",
        ] {
            assert!(Uri::parse(text).is_err(), "{text:?} was read");
        }
        assert!(Uri::parse(&format!("tcp://{}", "x".repeat(3000))).is_err());
    }
}
