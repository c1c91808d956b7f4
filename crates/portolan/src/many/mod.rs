//! A node among others: the adapters between the mesh and what wants to reach another node.
//!
//! The mesh knows streams, the log knows frames, leases know signs of life, the relay knows endpoints. None of them
//! knows another; they meet here.

pub(crate) mod begin;
pub(crate) mod carrier;
mod certify;
pub(crate) mod face;
pub(crate) mod lookout;
pub(crate) mod member;
pub(crate) mod order;
pub(crate) mod reach;
pub(crate) mod roster;
pub(crate) mod signs;
pub(crate) mod survey;
mod threads;
pub(crate) mod trust;
pub(crate) mod voters;
pub(crate) mod whereabouts;
mod wishes;
pub(crate) mod witness;
