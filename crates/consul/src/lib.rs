//! The JSON types of Consul's HTTP API, as its clients send and read them.
//!
//! One set of types for both ends: the API server, the client crate, and the command line. Answers carry
//! Go's field names (`ServiceID`, `ModifyIndex`); requests are read as Go's decoder and Consul's key
//! translation read them: any letter case, `snake_case` too, `null` for a zero value. Use [`decode`] for
//! both directions.
//!
//! Where to look: what is registered in [`register`], nodes, services and checks as they are listed in
//! [`listing`], who may do what in [`acl`], the agent's own answers in [`agent`], keys in [`kv`], locks in [`session`], [`txn`], prepared
//! queries in [`query`], intentions and certificates in [`connect`], durations in [`duration`], the paths
//! of our own in [`own`] and [`exposure`], what local programs say to the broker in [`broker`].
//!
//! What is absent: no HTTP, no rule about what is valid, no catalog.

pub mod acl;
pub mod agent;
pub mod broker;
pub mod connect;
pub mod definition;
pub mod duration;
pub mod event;
pub mod exposure;
mod fold;
pub mod instant;
pub mod kv;
pub mod listing;
pub mod own;
pub mod query;
pub mod register;
pub mod rules;
pub mod session;
pub mod txn;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use duration::GoDuration;
pub use fold::decode;

/// Text that is cheap to hand on.
pub type Text = Arc<str>;

/// `Meta` and the like.
pub type Labels = BTreeMap<Text, Text>;

/// An address with a port: `TaggedAddresses` of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceAddress {
    /// IP address or host name.
    pub address: Text,
    /// Port.
    pub port: u16,
}

/// Tag (`lan`, `wan`, `consul-virtual`, …) to address.
pub type TaggedAddresses = BTreeMap<Text, ServiceAddress>;

/// `Weights`: share of traffic by status. Without any, both are 1; of those given, a missing one is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Weights {
    /// Weight while passing.
    #[serde(default)]
    pub passing: u16,
    /// Weight while warning.
    #[serde(default)]
    pub warning: u16,
}

impl Default for Weights {
    fn default() -> Weights {
        Weights { passing: 1, warning: 1 }
    }
}

/// `Locality` of a service: carried for clients that ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Locality {
    /// Like `us-west-1`.
    pub region: Text,
    /// Like `us-west-1a`.
    pub zone: Text,
}

/// `Connect` of a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceConnect {
    /// It shows and demands certificates of the cluster's authority itself.
    #[serde(skip_serializing_if = "is_false")]
    pub native: bool,
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// An object that Consul always shows and that is always empty here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// `Proxy` of a service that is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Proxy {
    /// Always empty here.
    pub mode: Text,
    /// Always empty here.
    pub mesh_gateway: Empty,
    /// Always empty here.
    pub expose: Empty,
}
