//! `agent/*`: this node and what is registered on it.

pub(crate) mod about;
pub(crate) mod checks;
pub(crate) mod control;
mod definition;
pub(crate) mod health;
pub(crate) mod maintenance;
pub(crate) mod metrics;
pub(crate) mod reports;
pub(crate) mod services;

pub(crate) use definition::{
    check as define_check, kind_of, locality, service as define_service, tagged, weights,
};
