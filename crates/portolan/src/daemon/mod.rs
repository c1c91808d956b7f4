//! What a node is made of beside its faces.

pub(crate) mod control;
pub(crate) mod holder;
pub(crate) mod identity;
pub(crate) mod live;
pub(crate) mod metrics;
pub(crate) mod tasks;
