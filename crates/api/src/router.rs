//! From a path to a row of the table: exactly, else by the longest prefix.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::{Method, StatusCode};

use crate::http::Failure;
use crate::routes::{ABSENT, ROUTES, Route};

static ROUTER: LazyLock<Router> = LazyLock::new(|| Router::new(ROUTES));

/// Number of a row of the table, and what followed its prefix, still encoded.
pub(crate) type Matched<'a> = (usize, &'a str);

struct Router {
    /// Patterns without a parameter.
    exact: HashMap<&'static str, Vec<usize>>,
    /// Patterns with one, up to and with the slash before it.
    prefixes: HashMap<&'static str, Vec<usize>>,
}

/// Finds the row for a request.
///
/// # Errors
/// 405 with `Allow` when the path is there with other methods; 501 for a part of Consul's API that is not
/// here; 404.
pub(crate) fn find<'a>(method: &Method, path: &'a str) -> Result<Matched<'a>, Failure> {
    let (rows, rest) = ROUTER.rows(path).ok_or_else(|| unknown(method, path))?;
    let get = Method::GET;
    let wanted = if *method == Method::HEAD && has_head(path) { &get } else { method };
    match rows.iter().find(|row| ROUTES[**row].method == wanted) {
        Some(row) => Ok((*row, rest)),
        None => Err(not_allowed(method, rows)),
    }
}

/// What is not Consul's own answers `HEAD` where it answers `GET` (RFC 9110 section 9.3.2), since browsers, proxies and
/// supervisors look that way. Consul's paths answer 405, as they do there.
fn has_head(path: &str) -> bool {
    !path.starts_with("/v1/")
}

/// Methods of a path, as `OPTIONS` and 405 list them.
pub(crate) fn allowed(path: &str) -> Option<String> {
    ROUTER.rows(path).map(|(rows, _)| methods(rows))
}

impl Router {
    fn new(routes: &'static [Route]) -> Router {
        let mut router = Router { exact: HashMap::new(), prefixes: HashMap::new() };
        for (row, route) in routes.iter().enumerate() {
            match route.pattern.split_once('*') {
                Some((prefix, _)) => router.prefixes.entry(prefix).or_default().push(row),
                None => router.exact.entry(route.pattern).or_default().push(row),
            }
        }
        router
    }

    fn rows<'a>(&self, path: &'a str) -> Option<(&[usize], &'a str)> {
        if let Some(rows) = self.exact.get(path) {
            return Some((rows, ""));
        }
        let ends = path.bytes().enumerate().rev().filter(|(_, byte)| *byte == b'/').map(|(at, _)| at + 1);
        ends.filter_map(|end| Some((self.prefixes.get(&path[..end])?.as_slice(), &path[end..]))).next()
    }
}

fn methods(rows: &[usize]) -> String {
    let mut methods = vec!["OPTIONS"];
    methods.extend(rows.iter().map(|row| ROUTES[*row].method.as_str()));
    methods.join(",")
}

fn not_allowed(method: &Method, rows: &[usize]) -> Failure {
    let message = format!("method {method} not allowed");
    Failure { allow: Some(methods(rows)), ..Failure::new(StatusCode::METHOD_NOT_ALLOWED, message) }
}

fn unknown(method: &Method, path: &str) -> Failure {
    match ABSENT.iter().find(|(prefix, _)| path.starts_with(prefix)) {
        Some((_, what)) => Failure::absent(what),
        None => Failure::not_found(format!("no such endpoint: {method} {path}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(method: &Method, path: &'static str) -> Result<(&'static str, &'static str), Failure> {
        find(method, path).map(|(row, rest)| (ROUTES[row].pattern, rest))
    }

    #[test]
    fn every_row_is_reached_and_no_two_are_alike() {
        for (row, route) in ROUTES.iter().enumerate() {
            let path = route.pattern.split('*').next().unwrap_or_default();
            assert!(path.starts_with('/'), "{path}");
            assert_eq!(find(&route.method, path).map(|(found, _)| found), Ok(row), "{} {path}", route.method);
            if let Some((_, name)) = route.pattern.split_once('*') {
                assert!(path.ends_with('/') && !name.is_empty() && !name.contains(['/', '*']), "{path}");
            }
        }
    }

    #[test]
    fn nothing_that_is_here_is_called_absent() {
        for (prefix, _) in ABSENT {
            assert!(!ROUTES.iter().any(|route| route.pattern.starts_with(prefix)), "{prefix}");
            let failure = find(&Method::GET, prefix).expect_err("not here");
            assert!(
                matches!(failure.status, StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED),
                "{prefix}: {failure:?}"
            );
        }
    }

    #[test]
    fn the_longest_prefix_wins_and_the_rest_is_the_parameter() {
        let get = |path| pattern(&Method::GET, path);
        assert_eq!(get("/v1/kv/a/b//c"), Ok(("/v1/kv/*key", "a/b//c")));
        assert_eq!(get("/v1/agent/health/service/id/x"), Ok(("/v1/agent/health/service/id/*id", "x")));
        assert_eq!(get("/v1/agent/service/_nomad/web/1"), Ok(("/v1/agent/service/*id", "_nomad/web/1")));
        assert_eq!(
            pattern(&Method::PUT, "/v1/agent/service/register").map(|(p, _)| p),
            Ok("/v1/agent/service/register")
        );
        assert_eq!(get("/v1/kvx").expect_err("unknown").status, StatusCode::NOT_FOUND);
        let head = |path| pattern(&Method::HEAD, path).map(|(pattern, _)| pattern);
        assert_eq!([head("/"), head("/ui/")], [Ok("/"), Ok("/ui/*file")]);
        assert_eq!(head("/v1/kv/a").expect_err("as in Consul").status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(
            get("/v1/agent/service/register").expect_err("PUT only").allow.as_deref(),
            Some("OPTIONS,PUT")
        );
    }
}
