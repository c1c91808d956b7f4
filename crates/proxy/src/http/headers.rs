//! Header fields on their way through: what concerns one connection stays on it, what says where a request
//! comes from is written here.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, Version};

/// Fields that concern one connection (RFC 9110 section 7.6.1), beside those that `Connection` names.
static HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("http2-settings"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TRANSFER_ENCODING,
    TE,
];

/// Fields that tell where a request came from. A client may say what it likes, so its word is replaced.
static FORWARDING: [HeaderName; 9] = [
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    HeaderName::from_static("x-forwarded-port"),
    X_FORWARDED_PREFIX,
    X_FORWARDED_PROTO,
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-original-host"),
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What the fields that were stripped had said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stripped {
    /// The protocol that was asked for, when `Connection` names `Upgrade`.
    pub(crate) upgrade: Option<HeaderValue>,
    /// Trailers are welcome.
    pub(crate) trailers: bool,
}

/// Takes off what concerns one connection.
pub(crate) fn strip(headers: &mut HeaderMap) -> Stripped {
    let trailers = headers.get_all(TE).iter().any(|value| has_token(value, "trailers"));
    let mut stripped = Stripped { upgrade: None, trailers };
    let upgrade = headers.remove(UPGRADE);
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
        if named.iter().any(|value| has_token(value, "upgrade")) {
            stripped.upgrade = upgrade;
        }
        for name in named.iter().flat_map(tokens) {
            // The body's length belongs to the message whatever a client calls it.
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes())
                && name != CONTENT_LENGTH
            {
                headers.remove(name);
            }
        }
    }
    remove_all(headers, &HOP_BY_HOP);
    stripped
}

/// Removes those that are there. Most requests have few fields and none of these: going over the fields once
/// is cheaper than looking for each name.
fn remove_all(headers: &mut HeaderMap, names: &'static [HeaderName]) {
    let there: Vec<&HeaderName> =
        names.iter().filter(|name| headers.keys().any(|key| key == *name)).collect();
    for name in there {
        headers.remove(name);
    }
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|token| !token.is_empty())
}

fn has_token(value: &HeaderValue, wanted: &str) -> bool {
    tokens(value).any(|token| {
        let name = token.split(';').next().unwrap_or_default();
        name.trim_end().eq_ignore_ascii_case(wanted)
    })
}

/// Who sends a request, and to what.
pub(crate) struct Origin<'a> {
    /// The peer's address.
    pub(crate) peer: IpAddr,
    /// The same as a field value.
    pub(crate) peer_value: &'a HeaderValue,
    /// What the client sent as `Host` or `:authority`.
    pub(crate) host: &'a HeaderValue,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// Peers whose word is believed.
    pub(crate) trusted: &'a [IpAddr],
    /// What was taken off the path.
    pub(crate) prefix: Option<&'a str>,
}

/// Writes the forwarding fields anew; what a trusted peer said is kept and extended.
pub(crate) fn forwarded(headers: &mut HeaderMap, origin: &Origin<'_>) {
    drop_aliases(headers);
    if origin.trusted.contains(&origin.peer) {
        // Every line, in order (RFC 9110 section 5.2): some proxies add theirs below what the client sent.
        let lines = headers.get_all(X_FORWARDED_FOR).iter().chain([origin.peer_value]);
        let all = lines.map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..]);
        let all = HeaderValue::from_bytes(&all).unwrap_or_else(|_| origin.peer_value.clone());
        headers.insert(X_FORWARDED_FOR, all);
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| origin.host.clone());
        headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(origin.scheme));
    } else {
        remove_all(headers, &FORWARDING);
        headers.insert(X_FORWARDED_FOR, origin.peer_value.clone());
        headers.insert(X_FORWARDED_HOST, origin.host.clone());
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(origin.scheme));
    }
    if let Some(prefix) = origin.prefix.and_then(|prefix| HeaderValue::from_str(prefix).ok()) {
        headers.insert(X_FORWARDED_PREFIX, prefix);
    }
}

/// Fields whose look-alikes could say where a message ends, whom it is for, or who sends it.
static NOT_TO_BE_MIMICKED: [&str; 6] =
    ["content-length", "transfer-encoding", "host", "connection", "upgrade", "te"];

/// Servers that turn names into variables (CGI, WSGI) read `X_Forwarded_For` as `X-Forwarded-For`: such
/// spellings go.
fn drop_aliases(headers: &mut HeaderMap) {
    let is_alias = |name: &str| {
        name.contains('_') && {
            let plain = name.replace('_', "-");
            FORWARDING.iter().any(|ours| ours == plain.as_str())
                || NOT_TO_BE_MIMICKED.contains(&plain.as_str())
        }
    };
    let aliases: Vec<HeaderName> = headers.keys().filter(|name| is_alias(name.as_str())).cloned().collect();
    for name in aliases {
        headers.remove(name);
    }
}

/// Times that a request may pass this proxy. An application behind it may be a proxy too, hence not one.
const MOST_PASSES: usize = 5;

/// What requests that passed here are signed with, by the protocol that they came by.
pub(crate) struct Signature {
    pseudonym: String,
    pub(crate) one: HeaderValue,
    two: HeaderValue,
}

impl Signature {
    /// That of a node.
    pub(crate) fn new(node: &str) -> Signature {
        let pseudonym = format!("portolan-{node}");
        let of = |version: &str| HeaderValue::from_str(&format!("{version} {pseudonym}"));
        let one = of("1.1").unwrap_or(HeaderValue::from_static("1.1 portolan"));
        let two = of("2").unwrap_or(HeaderValue::from_static("2 portolan"));
        Signature { one, two, pseudonym }
    }
}

/// Signs the request (RFC 9110 section 7.6.3); false when it has passed here too often.
pub(crate) fn sign(headers: &mut HeaderMap, version: Version, signature: &Signature) -> bool {
    let passes = headers.get_all(VIA).iter().flat_map(tokens).filter(|entry| {
        let by = entry.split_ascii_whitespace().nth(1);
        by.is_some_and(|by| by.eq_ignore_ascii_case(&signature.pseudonym))
    });
    if passes.count() >= MOST_PASSES {
        return false;
    }
    let two = version == Version::HTTP_2;
    headers.append(VIA, if two { signature.two.clone() } else { signature.one.clone() });
    true
}

/// Makes one field of several cookies: HTTP/2 has them in fields of their own, and nobody else (RFC 9113 section 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    let (Some(first), Some(_)) = (cookies.next(), cookies.next()) else { return };
    let rest = headers.get_all(COOKIE).iter().skip(1);
    let joined = rest.fold(first.as_bytes().to_vec(), |mut joined, cookie| {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
        joined
    });
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, joined);
    }
}

/// True when an expectation is named that is not `100-continue`. That one is met by hyper when the body is
/// asked for, so it does not travel on.
pub(crate) fn expects_too_much(headers: &mut HeaderMap) -> bool {
    match headers.remove(EXPECT) {
        Some(value) => !value.as_bytes().eq_ignore_ascii_case(b"100-continue"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn what_concerns_one_connection_stays_on_it() {
        let mut headers = map(&[
            ("connection", "close, X-Secret"),
            ("connection", "keep-alive, te"),
            ("keep-alive", "timeout=5"),
            ("x-secret", "1"),
            ("te", "gzip;q=0.5, trailers"),
            ("proxy-authorization", "x"),
            ("proxy-connection", "x"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("x-kept", "1"),
        ]);
        let stripped = strip(&mut headers);
        assert_eq!(stripped, Stripped { upgrade: None, trailers: true });
        assert_eq!(headers, map(&[("content-length", "3"), ("x-kept", "1")]));
    }

    #[test]
    fn an_upgrade_needs_both_fields() {
        let websocket = Some(HeaderValue::from_static("websocket"));
        assert_eq!(
            strip(&mut map(&[("connection", "Upgrade"), ("upgrade", "websocket")])).upgrade,
            websocket
        );
        assert_eq!(strip(&mut map(&[("upgrade", "websocket")])).upgrade, None);
    }

    #[test]
    fn a_length_cannot_be_nominated_away() {
        let mut headers = map(&[("connection", "content-length"), ("content-length", "3")]);
        strip(&mut headers);
        assert_eq!(headers, map(&[("content-length", "3")]));
    }

    fn forward(headers: &mut HeaderMap, trusted: &[IpAddr]) {
        let peer = "10.1.2.3".parse().unwrap();
        let origin = Origin {
            scheme: "http",
            peer,
            peer_value: &HeaderValue::from_static("10.1.2.3"),
            host: &HeaderValue::from_static("web"),
            trusted,
            prefix: None,
        };
        forwarded(headers, &origin);
    }

    #[test]
    fn a_strangers_word_is_replaced() {
        let mut headers = map(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x_forwarded_for", "3.3.3.3"),
            ("content_length", "3"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
        ]);
        forward(&mut headers, &[]);
        let ours =
            [("x-forwarded-for", "10.1.2.3"), ("x-forwarded-host", "web"), ("x-forwarded-proto", "http")];
        assert_eq!(headers, map(&ours));
    }

    #[test]
    fn a_trusted_peers_word_is_extended() {
        let mut headers = map(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https")]);
        forward(&mut headers, &["10.1.2.3".parse().unwrap()]);
        assert_eq!(headers["x-forwarded-for"], "1.1.1.1, 10.1.2.3");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "web");
    }

    #[test]
    fn what_a_trusted_peer_added_in_a_line_of_its_own_counts() {
        let mut headers = map(&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.1.1.1")]);
        forward(&mut headers, &["10.1.2.3".parse().unwrap()]);
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(headers["x-forwarded-for"], "6.6.6.6, 1.1.1.1, 10.1.2.3");
    }

    #[test]
    fn a_circle_is_noticed() {
        let (mut headers, ours) = (HeaderMap::new(), Signature::new("a"));
        for pass in 0..MOST_PASSES {
            let version = if pass % 2 == 0 { Version::HTTP_11 } else { Version::HTTP_2 };
            assert!(sign(&mut headers, version, &ours));
        }
        assert_eq!(headers.get_all(VIA).iter().nth(1).unwrap(), "2 portolan-a");
        assert!(!sign(&mut headers, Version::HTTP_11, &ours));
        assert!(sign(&mut headers, Version::HTTP_11, &Signature::new("b")));
    }

    #[test]
    fn cookies_are_one_field() {
        let mut headers = map(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")]);
        join_cookies(&mut headers);
        assert_eq!(headers, map(&[("x", "y"), ("cookie", "a=1; b=2; c=3")]));
    }
}
