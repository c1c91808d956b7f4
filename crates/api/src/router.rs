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
    match rows.iter().find(|row| ROUTES[**row].method == method) {
        Some(row) => Ok((*row, rest)),
        None => Err(not_allowed(method, rows)),
    }
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
