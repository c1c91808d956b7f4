//! `connect/*` and `agent/connect/*`: intentions, which are our rules in Consul's words, and the certificates that
//! the cluster's authority gives to services. `shape` tells which rules are intentions, `reads` shows them,
//! `writes` and `entries` change them, `verdict` asks them, `authority` shows who certifies, `leaves` has
//! services certified.

mod authority;
mod entries;
mod leaves;
mod reads;
mod shape;
mod verdict;
mod writes;

pub(crate) use authority::{configuration, configure, roots, roots_of_agent};
pub(crate) use entries::{
    delete as delete_entry, list as list_entries, put as put_entry, show as show_entry,
};
pub(crate) use leaves::{Leaves, leaf};
pub(crate) use reads::{by_id, exact, list, matching};
pub(crate) use verdict::{authorize, check};
pub(crate) use writes::{create, delete, delete_exact, put_exact, update};

use crate::http::{Failure, Query};

/// Bodies here are a few words.
const MAX_BODY: usize = 64 << 10;

/// A parameter that must be there, once.
fn needed<'a>(query: &'a Query, name: &'static str) -> Result<&'a str, Failure> {
    let wrong = || Failure::bad_request(format!("required query parameter '{name}' not set"));
    query.given(name).filter(|_| query.all(name).count() == 1).ok_or_else(wrong)
}

/// A service's name out of `name`, `namespace/name` or `partition/namespace/name`, where there is only `default`.
fn name_in(text: &str) -> Result<&str, Failure> {
    let wrong = |why: &str| Err(Failure::bad_request(format!("name {text:?} is invalid: {why}")));
    if text.starts_with("peer:") {
        return wrong("there are no peers here");
    }
    let mut parts = text.rsplitn(3, '/');
    let name = parts.next().unwrap_or_default();
    match parts.any(|tenancy| !matches!(tenancy, "default" | "")) {
        true => wrong("there is no namespace or partition but \"default\""),
        false if name.is_empty() => wrong("it is empty"),
        false => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::name_in;

    #[test]
    fn names_are_taken_in_every_form_and_only_of_the_default_namespace() {
        for text in ["db", "default/db", "default/default/db", "/db"] {
            assert_eq!(name_in(text).ok(), Some("db"), "{text}");
        }
        for text in ["", "other/db", "a/default/db", "peer:x/db", "default/", "1/2/3/db"] {
            assert!(name_in(text).is_err(), "{text}");
        }
    }
}
