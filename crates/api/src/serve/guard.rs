//! Keeps web pages out. A browser on this host can reach a loopback listener; what it cannot do is lie in
//! `Host` and `Origin`. A page whose own name was pointed at 127.0.0.1 sends that name as `Host`; a page
//! from anywhere else sends its `Origin` or `Sec-Fetch-Site`.

use std::net::IpAddr;

use http::header::{HOST, HeaderName, ORIGIN};
use http::{HeaderMap, Method, StatusCode, Uri, Version};

use crate::http::Failure;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What of a request tells where it comes from and where to.
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) version: Version,
    pub(super) headers: &'a HeaderMap,
}

/// Lets through what a program sent, and pages of this very API.
///
/// # Errors
/// 400 without exactly one `Host`; 403 for a foreign host, origin or site. `names` are the host names that
/// are ours.
pub(super) fn check<'a>(head: &Head<'a>, names: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let authority = authority(head)?;
    if let Some(authority) = authority
        && !is_ours(host_of(authority), names)
    {
        return Err(foreign(format!(
            "this API does not answer for host {authority:?}; add the name to api.hosts if it is ours"
        )));
    }
    let field = |name: &HeaderName| head.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(origin) = field(&ORIGIN) {
        let origin_host = origin.split_once("://").map(|(_, host)| host);
        if origin_host.is_none() || origin_host != authority {
            return Err(foreign(format!("pages of {origin:?} may not use this API")));
        }
    }
    let is_navigation = *head.method == Method::GET && field(&FETCH_MODE) == Some("navigate");
    if field(&FETCH_SITE) == Some("cross-site") && !is_navigation {
        return Err(foreign("pages of other sites may not use this API".to_owned()));
    }
    Ok(())
}

fn foreign(message: String) -> Failure {
    Failure::new(StatusCode::FORBIDDEN, message)
}

/// Whom the request is addressed to; `None` only in HTTP/1.0, which has no such field.
fn authority<'a>(head: &Head<'a>) -> Result<Option<&'a str>, Failure> {
    if let Some(authority) = head.uri.authority() {
        return Ok(Some(authority.as_str()));
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => match host.to_str() {
            Ok(host) => Ok(Some(host)),
            Err(_) => Err(Failure::bad_request("the Host field is not text")),
        },
        (None, _) if head.version == Version::HTTP_10 => Ok(None),
        (None, _) => Err(Failure::bad_request("the Host field is missing (RFC 9112 section 3.2)")),
        (Some(_), Some(_)) => Err(Failure::bad_request("there are two Host fields")),
    }
}

/// The host of `host[:port]`, without the brackets of an IPv6 address.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(host, _)| host);
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

/// Addresses are nobody's name, so no page can have them for its own.
fn is_ours<'a>(host: &str, mut names: impl Iterator<Item = &'a str>) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.any(|name| name.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(method: &Method, fields: &[(&'static str, &'static str)]) -> Result<(), StatusCode> {
        let headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), http::HeaderValue::from_static(value)))
            .collect();
        let uri = Uri::from_static("/v1/agent/self");
        let head = Head { method, uri: &uri, version: Version::HTTP_11, headers: &headers };
        check(&head, ["registry.example.org", "n1"].into_iter()).map_err(|failure| failure.status)
    }

    #[test]
    fn programs_are_let_through() {
        for host in
            ["localhost:8500", "127.0.0.1:8500", "[::1]:8500", "[::1]", "10.0.0.7", "N1:8500", "localhost."]
        {
            assert_eq!(verdict(&Method::PUT, &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(verdict(&Method::GET, &[("host", "registry.example.org")]), Ok(()));
    }

    #[test]
    fn pages_are_not() {
        let foreign = Err(StatusCode::FORBIDDEN);
        assert_eq!(verdict(&Method::GET, &[("host", "evil.example:8500")]), foreign);
        assert_eq!(verdict(&Method::GET, &[("host", "127.0.0.1.evil.example")]), foreign);
        let ours = ("host", "127.0.0.1:8500");
        for origin in ["http://evil.example", "null", "http://127.0.0.1:3000", "http://127.0.0.1:8500.evil"] {
            assert_eq!(verdict(&Method::PUT, &[ours, ("origin", origin)]), foreign, "{origin}");
        }
        assert_eq!(verdict(&Method::PUT, &[ours, ("origin", "http://127.0.0.1:8500")]), Ok(()));
        assert_eq!(verdict(&Method::PUT, &[ours, ("sec-fetch-site", "cross-site")]), foreign);
        let link = [ours, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert_eq!(verdict(&Method::GET, &link), Ok(()), "a link to us may be followed");
        assert_eq!(verdict(&Method::PUT, &link), foreign);
    }

    #[test]
    fn one_host_is_needed() {
        assert_eq!(verdict(&Method::GET, &[]), Err(StatusCode::BAD_REQUEST));
        let mut headers = HeaderMap::new();
        headers.append(HOST, http::HeaderValue::from_static("localhost"));
        headers.append(HOST, http::HeaderValue::from_static("localhost"));
        let uri = Uri::from_static("/");
        let head = Head { method: &Method::GET, uri: &uri, version: Version::HTTP_11, headers: &headers };
        assert!(check(&head, std::iter::empty()).is_err());
    }
}
