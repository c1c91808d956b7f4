//! Servers under test, each in a folder of its own and gone with its value.

pub(crate) mod ask;
pub(crate) mod bridge;
pub(crate) mod consul;
pub(crate) mod etcd;
pub(crate) mod portolan;
pub(crate) mod relay;
pub(crate) mod secured;
pub(crate) mod trio;
pub(crate) mod web;
pub(crate) mod zone;
