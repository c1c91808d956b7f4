//! Servers under test, each in a folder of its own and gone with its value.

pub(crate) mod ask;
<<<<<<< HEAD
pub(crate) mod consul;
=======
pub(crate) mod bridge;
>>>>>>> 16e0731 (bench: measure the broker beside direct connections, HAProxy and two bridges)
pub(crate) mod etcd;
pub(crate) mod portolan;
pub(crate) mod relay;
pub(crate) mod secured;
pub(crate) mod trio;
pub(crate) mod web;
pub(crate) mod zone;
