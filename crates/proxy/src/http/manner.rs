//! What is special about a request's route, carried out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{COOKIE, HeaderValue, LOCATION, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{HeaderMap, Response, StatusCode};
use relay::http::{Body, Outgoing};

use super::rate::Meter;
use crate::config::{By, FieldName, HttpRoute, RouteOptions};
use crate::serve::unless_zero;

/// A route's options with what is counted for them.
#[derive(Debug)]
pub(crate) struct Manner {
    pub(crate) options: RouteOptions,
    retry_statuses: Arc<[u16]>,
    meter: Option<Meter>,
}

impl Manner {
    /// `None` where nothing is special.
    pub(crate) fn new(route: &HttpRoute) -> Option<Arc<Manner>> {
        let options = route.options.clone();
        let manner = || Manner {
            retry_statuses: options.retry_statuses.clone().into(),
            meter: options.rate.as_ref().map(Meter::new),
            options: options.clone(),
        };
        (options != RouteOptions::default()).then(|| Arc::new(manner()))
    }

    /// Counts a request; when there were too many, how long until there is room for another.
    pub(crate) fn admit(&self, headers: &HeaderMap, peer: IpAddr) -> Result<(), Duration> {
        let (Some(meter), Some(rate)) = (&self.meter, &self.options.rate) else { return Ok(()) };
        meter.take(key(&rate.by, headers, peer).unwrap_or_else(|| address_key(peer)))
    }

    /// What decides the endpoint.
    pub(crate) fn affinity(&self, headers: &HeaderMap, peer: IpAddr) -> Option<u64> {
        key(self.options.affinity.as_ref()?, headers, peer)
    }

    /// The request as its route wants it.
    pub(crate) fn on_its_way(&self, outgoing: Outgoing) -> Outgoing {
        let options = &self.options;
        let own = options.response_timeout.map(|span| unless_zero(span.0));
        let mut outgoing = Outgoing {
            timeout: own.unwrap_or(outgoing.timeout),
            connect_timeout: options.connect_timeout.map(|span| span.0),
            attempts: options.attempts,
            retry_statuses: self.retry_statuses.clone(),
            ..outgoing
        };
        options.request_headers.apply(outgoing.request.headers_mut());
        outgoing
    }

    /// The answer of a route that redirects.
    pub(crate) fn redirection(&self, host: &str, path: &PathAndQuery) -> Option<Response<Body>> {
        let place = self.options.redirect.as_ref()?.replace("{host}", host).replace("{path}", path.as_str());
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self
            .options
            .redirect_status
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or(StatusCode::PERMANENT_REDIRECT);
        response.headers_mut().insert(LOCATION, HeaderValue::try_from(place).ok()?);
        self.options.response_headers.apply(response.headers_mut());
        Some(response)
    }
}

/// How long to wait, as a field has it: whole seconds, not too few.
pub(crate) fn retry_after(response: &mut Response<Body>, wait: Duration) {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
}

/// `None` where a request does not have what it should be told by.
fn key(by: &By, headers: &HeaderMap, peer: IpAddr) -> Option<u64> {
    match by {
        By::Address => Some(address_key(peer)),
        By::Route => Some(0),
        By::Header(FieldName(name)) => Some(relay::balance::key(headers.get(name)?.as_bytes())),
        By::Cookie(name) => Some(relay::balance::key(cookie(headers, name)?)),
    }
}

/// Whoever has one IPv6 address has 2^64 of them.
fn address_key(peer: IpAddr) -> u64 {
    match relay::limit::holder(peer) {
        IpAddr::V4(address) => relay::balance::key(&address.octets()),
        IpAddr::V6(address) => relay::balance::key(&address.octets()),
    }
}

/// The first cookie of this name (RFC 6265 section 4.2.1).
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; sessionx=2; session=three"));
        headers.append(COOKIE, HeaderValue::from_static("b=4"));
        assert_eq!(cookie(&headers, "session"), Some(&b"three"[..]));
        assert_eq!(cookie(&headers, "b"), Some(&b"4"[..]));
        assert_eq!(cookie(&headers, "c"), None);
    }

    #[test]
    fn one_network_of_ipv6_is_one_client() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    }
}
