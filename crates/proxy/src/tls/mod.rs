//! Listeners that speak TLS: one port for HTTPS, for services behind TLS, and for TLS that is passed through.
//!
//! Who is asked for in the first message decides ([`sites`]); [`serve`] does what the site says; [`keep`] holds
//! certificates, sites and what is known of upstreams to their files and the configuration.

pub(crate) mod config;
pub(crate) mod keep;
pub(crate) mod serve;
pub(crate) mod sites;
