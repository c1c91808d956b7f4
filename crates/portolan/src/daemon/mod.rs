//! What a node is made of beside its faces.

pub(crate) mod containers;
pub(crate) mod control;
pub(crate) mod file;
pub(crate) mod guard;
pub(crate) mod handed;
pub(crate) mod holder;
pub(crate) mod holders;
pub(crate) mod home;
pub(crate) mod identity;
pub(crate) mod live;
pub(crate) mod lives;
pub(crate) mod memory;
pub(crate) mod metrics;
pub(crate) mod notify;
pub(crate) mod rounds;
pub(crate) mod tasks;
