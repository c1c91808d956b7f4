//! Who a client is: what it shows, what its certificate proves, or where it comes from.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use route::Principal;

use super::accept::Client;

/// Longest credentials, in bytes.
const LONGEST: usize = 4096;

/// What a client shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) user: String,
    pub(super) secret: String,
}

/// Credentials that are no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bad;

/// What a request shows to a proxy.
pub(super) fn to_proxy(headers: &HeaderMap) -> Result<Option<Shown>, Bad> {
    shown(headers, PROXY_AUTHORIZATION)
}

/// What a request shows to a server.
pub(super) fn to_server(headers: &HeaderMap) -> Result<Option<Shown>, Bad> {
    if let Some(token) = headers.get("x-consul-token") {
        let secret = token.to_str().map_err(|_| Bad)?.to_owned();
        return Ok(Some(Shown { user: String::new(), secret }));
    }
    shown(headers, AUTHORIZATION)
}

fn shown(headers: &HeaderMap, name: HeaderName) -> Result<Option<Shown>, Bad> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => read(value).map(Some).ok_or(Bad),
        // Two that differ would be two people.
        _ => Err(Bad),
    }
}

/// `Bearer TOKEN` (RFC 6750), or `Basic` with user and secret (RFC 7617).
fn read(value: &HeaderValue) -> Option<Shown> {
    let text = value.to_str().ok().filter(|text| text.len() <= LONGEST)?;
    let (scheme, rest) = text.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Shown { user: String::new(), secret: rest.to_owned() });
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (user, secret) = plain.split_once(':')?;
    Some(Shown { user: user.to_owned(), secret: secret.to_owned() })
}

impl Client {
    /// Who asks. `None`: somebody who would have to prove it.
    pub(super) fn principal(&self, shown: Option<&Shown>) -> Result<Option<Principal>, Bad> {
        match shown {
            Some(Shown { user, secret }) => self.face.credentials.holder(user, secret).map(Some).ok_or(Bad),
            None => Ok(self.known()),
        }
    }

    /// Who it is without showing anything: by its certificate, by the kernel, by its address where that is enough.
    pub(super) fn known(&self) -> Option<Principal> {
        if let Some(proven) = &self.proven {
            return Some(proven.clone());
        }
        let from = self.peer.ip().to_canonical();
        if self.is_local() {
            return Some(Principal::Node { name: self.face.node.clone() });
        }
        self.face.config.anonymous.then_some(Principal::Anonymous { from })
    }

    /// Comes from this host.
    pub(super) fn is_local(&self) -> bool {
        let from = self.peer.ip().to_canonical();
        from.is_loopback() || self.face.facts.now().is_local(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &'static str) -> Option<(String, String)> {
        read(&HeaderValue::from_static(value)).map(|shown| (shown.user, shown.secret))
    }

    #[test]
    fn tokens_and_passwords_are_read() {
        assert_eq!(of("Bearer abc"), Some((String::new(), "abc".to_owned())));
        assert_eq!(of("basic dXNlcjpwYXNzOndvcmQ="), Some(("user".to_owned(), "pass:word".to_owned())));
        assert_eq!(of("Basic !!!"), None);
        assert_eq!(of("Digest x"), None);
        assert_eq!(of("Bearer"), None);
    }

    #[test]
    fn one_is_not_two() {
        let mut headers = HeaderMap::new();
        assert_eq!(to_proxy(&headers), Ok(None));
        headers.append(PROXY_AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert_eq!(to_proxy(&headers).map(|shown| shown.map(|shown| shown.secret)), Ok(Some("a".to_owned())));
        headers.append(PROXY_AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        assert_eq!(to_proxy(&headers), Err(Bad));
    }
}
