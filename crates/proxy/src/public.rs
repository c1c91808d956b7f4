//! Listeners for the world: names that somebody wishes to expose, and nothing else.
//!
//! By HTTPS each leads to its service; everything else is as with other listeners: routes, rules, limits. By plain HTTP
//! there are the proofs that an authority looks for (RFC 8555 section 8.3), and the way to HTTPS. Here no service is
//! found by its own name, no rule of the configuration leads anywhere, and no certificate is shown for another name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use catalog::exposure::Front;
use http::header::{CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use relay::http::Body;
use serde::{Deserialize, Serialize};
use state::Reader;

use crate::http::authority;

/// Settings of these listeners: they are open to the world, as their section says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Public {
    /// HTTPS for names that are exposed with it; nowhere when empty.
    pub tls: Vec<SocketAddr>,
    /// HTTP: proofs for authorities, and redirections to HTTPS; nowhere when empty.
    pub http: Vec<SocketAddr>,
}

/// By which kind of listener a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// For this host and its network.
    Usual,
    /// For the world, secured.
    Public,
    /// For the world, plain.
    Plain,
}

/// What is shown to the world now.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Names and the services behind them.
    pub front: Reader<Front>,
    /// Token to what stands behind it.
    pub proofs: Reader<BTreeMap<Arc<str>, Arc<str>>>,
}

impl Shown {
    /// Nothing, for a proxy that the world does not reach.
    pub fn nothing() -> Shown {
        Shown { front: state::channel(Front::default()).1, proofs: state::channel(BTreeMap::new()).1 }
    }

    /// The service behind a name in lower case.
    pub(crate) fn service(&self, name: &str) -> Option<Arc<str>> {
        self.front.now().service(name).cloned()
    }
}

/// Where authorities look.
const PROOFS: &str = "/.well-known/acme-challenge/";

/// What a request by plain HTTP is answered.
pub(crate) fn answer<B>(shown: &Shown, request: &Request<B>) -> Response<Body> {
    let path = request.uri().path();
    if let Some(proof) = path.strip_prefix(PROOFS).and_then(|token| shown.proofs.now().get(token).cloned()) {
        let mut response = Response::new(Body::from(proof.to_string()));
        let binary = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(CONTENT_TYPE, binary);
        return response;
    }
    let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let named = named.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    let front = shown.front.now();
    let host = named.and_then(authority::host).filter(|host| front.service(host).is_some());
    let to = host.and_then(|host| {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path } else { "/" };
        let port = if front.https == 443 { String::new() } else { format!(":{}", front.https) };
        HeaderValue::from_str(&format!("https://{host}{port}{path}")).ok()
    });
    let mut response = Response::new(Body::from(String::new()));
    match to {
        Some(to) => {
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(LOCATION, to);
        }
        None => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_are_shown_and_names_are_sent_on() {
        let proofs = [(Arc::from("tok"), Arc::from("tok.print"))].into();
        let sites = [(Arc::from("web.example.org"), Arc::from("web"))].into();
        let shown =
            Shown { front: state::channel(Front { sites, https: 443 }).1, proofs: state::channel(proofs).1 };
        let ask = |host: &str, path: &str| {
            let request = Request::get(path).header(HOST, host).body(()).unwrap();
            let answer = answer(&shown, &request);
            let to = answer.headers().get(LOCATION).map(|to| to.to_str().unwrap().to_owned());
            (answer.status().as_u16(), to)
        };
        assert_eq!(ask("any", "/.well-known/acme-challenge/tok"), (200, None));
        assert_eq!(ask("any", "/.well-known/acme-challenge/other"), (404, None));
        let sent = Some("https://web.example.org/a?b=c".to_owned());
        assert_eq!(ask("Web.Example.org:80", "/a?b=c"), (308, sent));
        assert_eq!(ask("web", "/"), (404, None));
    }
}
