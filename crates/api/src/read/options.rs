//! What every read may ask for: an index to wait for, how long, how fresh.

use std::time::Duration;

use consul::GoDuration;

use crate::http::{Failure, Query};

/// Wait of a blocking query that names none.
const DEFAULT_WAIT: Duration = Duration::from_secs(5 * 60);
/// Longest wait.
const MAX_WAIT: Duration = Duration::from_secs(10 * 60);

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// Everything that was decided before the request came; the latest state of this node while it is cut off.
    #[default]
    Default,
    /// The latest state that this node has applied, however old.
    Stale,
    /// Everything that was decided before the request came, or an error.
    Consistent,
}

impl Consistency {
    /// Value of `X-Consul-Effective-Consistency`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Consistency::Default => "leader",
            Consistency::Stale => "stale",
            Consistency::Consistent => "consistent",
        }
    }
}

/// Options of a read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReadOptions {
    /// Answer once the index is above this; 0 answers at once.
    pub(crate) index: u64,
    /// Longest wait, before jitter.
    pub(crate) wait: Duration,
    pub(crate) consistency: Consistency,
    /// Indent JSON.
    pub(crate) pretty: bool,
    /// The client takes an answer from a cache.
    pub(crate) cached: bool,
}

impl ReadOptions {
    /// # Errors
    /// 400 for a malformed `index` or `wait` and for `stale` beside `consistent`; 500 with Consul's words
    /// for another datacenter.
    pub(crate) fn parse(query: &Query, datacenter: &str) -> Result<ReadOptions, Failure> {
        check_datacenter(query.get("dc"), datacenter)?;
        check_tenancy(query)?;
        if query.has("cached") && query.has("consistent") {
            return Err(Failure::bad_request(
                "Cannot specify ?cached with ?consistent, conflicting semantics.",
            ));
        }
        let consistency = match (query.has("stale"), query.has("consistent")) {
            (true, true) => {
                return Err(Failure::bad_request(
                    "Cannot specify ?stale with ?consistent, conflicting semantics.",
                ));
            }
            (true, false) => Consistency::Stale,
            (false, true) => Consistency::Consistent,
            (false, false) => Consistency::Default,
        };
        let wait = match query.given("wait") {
            Some(text) => GoDuration::parse(text).map_err(|_| Failure::bad_request("Invalid wait time"))?.0,
            None => DEFAULT_WAIT,
        };
        Ok(ReadOptions {
            index: index(query)?,
            wait: if wait.is_zero() { DEFAULT_WAIT } else { wait.min(MAX_WAIT) },
            consistency,
            pretty: query.has("pretty"),
            cached: query.has("cached"),
        })
    }

    /// As they count at a path: the catalog is kept here and follows what is decided, which is what a cache in an agent
    /// of Consul does. Elsewhere Consul has none, and `cached` asks for nothing.
    pub(crate) fn at(self, path: &str) -> ReadOptions {
        let is_kept = ["/v1/catalog/", "/v1/health/"].iter().any(|prefix| path.starts_with(prefix));
        match self.cached && is_kept {
            true => ReadOptions { consistency: Consistency::Stale, ..self },
            false => ReadOptions { cached: false, ..self },
        }
    }

    /// The wait with up to a sixteenth more, so that ten thousand clients do not come back as one.
    pub(crate) fn jittered_wait(&self) -> Duration {
        let jitter_ms = u64::try_from(self.wait.as_millis() / 16).unwrap_or(0);
        self.wait + Duration::from_millis(fastrand::u64(0..=jitter_ms))
    }
}

fn index(query: &Query) -> Result<u64, Failure> {
    let Some(text) = query.given("index") else { return Ok(0) };
    text.parse().map_err(|_| Failure::bad_request("Invalid index"))
}

/// Accepts our own datacenter and none.
///
/// # Errors
/// 500 with Consul's words.
pub(crate) fn check_datacenter(asked: Option<&str>, ours: &str) -> Result<(), Failure> {
    match asked {
        None | Some("") => Ok(()),
        Some(asked) if asked.eq_ignore_ascii_case(ours) => Ok(()),
        Some(_) => Err(Failure::no_datacenter()),
    }
}

/// Accepts the namespace and the partition `default`, which are the only ones.
///
/// # Errors
/// 400.
pub(crate) fn check_tenancy(query: &Query) -> Result<(), Failure> {
    for name in ["ns", "partition"] {
        if let Some(other) = query.given(name).filter(|value| *value != "default") {
            return Err(Failure::bad_request(format!(
                "Bad request: Invalid query parameter: \"{name}\": there is no {other:?}, only \"default\""
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(query: &str) -> Result<ReadOptions, Failure> {
        ReadOptions::parse(&Query::parse(Some(query)).expect("a query"), "dc1")
    }

    #[test]
    fn waits_are_bounded_and_jittered_upwards() {
        assert_eq!(options("").expect("reads").wait, DEFAULT_WAIT);
        assert_eq!(options("wait=0s").expect("reads").wait, DEFAULT_WAIT);
        assert_eq!(options("wait=24h").expect("reads").wait, MAX_WAIT);
        let short = options("wait=120000ms&index=7").expect("reads");
        assert_eq!((short.index, short.wait), (7, Duration::from_secs(120)));
        let jittered = short.jittered_wait();
        assert!(jittered >= short.wait && jittered <= short.wait * 17 / 16, "{jittered:?}");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for bad in [
            "index=x",
            "index=-1",
            "wait=x",
            "wait=1",
            "stale=false&consistent",
            "cached&consistent",
            "ns=other",
        ] {
            assert_eq!(options(bad).expect_err(bad).status, http::StatusCode::BAD_REQUEST, "{bad}");
        }
        assert_eq!(options("dc=dc2").expect_err("another").message, "No path to datacenter");
        let cached = options("cached").expect("reads");
        assert_eq!(cached.clone().at("/v1/health/service/web").consistency, Consistency::Stale);
        assert_eq!(cached.at("/v1/kv/a"), options("").expect("reads"), "there is no such cache");
        assert!(options("dc=DC1&ns=default&partition=default&near=_agent").is_ok());
    }
}
