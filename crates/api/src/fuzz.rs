//! Parsers of foreign bytes, for fuzzing: they may refuse anything and panic at nothing.

use consul::listing::ServiceEntry;
use consul::register::{CatalogRegistration, ServiceRegistration};

use crate::agent::define_service;
use crate::config::Config;
use crate::filter::Filter;
use crate::http::Query;

/// A `filter` expression, evaluated on an empty entry when it is accepted.
pub fn filter(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(filter) = Filter::<ServiceEntry>::parse(text)
    {
        filter.lets(&ServiceEntry::default());
    }
}

/// The body of a registration at the agent or at the catalog.
pub fn register_body(bytes: &[u8]) {
    if let Ok(sent) = consul::decode::<ServiceRegistration>(bytes)
        && let Ok(register) = define_service(&"n".into(), sent, false, &Config::default())
    {
        let _ = catalog::validate::registration(&register);
    }
    let _ = consul::decode::<CatalogRegistration>(bytes);
}

/// A query string.
pub fn query(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Query::parse(Some(text));
    }
}
