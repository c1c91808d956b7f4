//! Where a name leads, and whether it may.
//!
//! [`Routes`] is the projection of a snapshot that the data plane reads; [`Routes::decide`] is the one
//! decision that dns, proxy and broker carry out and that `explain` prints. It answers with a [`Permit`], a
//! value that the code which splices bytes must be given: skipping the decision does not compile.
//!
//! What is absent: no clock, no sockets, no resolving of host names, no choice between endpoints (the
//! balancer in `relay` knows their latencies; this crate does not).

mod caller;
mod decide;
mod facts;
mod policy;
mod routes;

pub use caller::{Caller, PeerHost, Principal};
pub use catalog::Mode;
pub use decide::{Decision, Denial, Permit, Step};
pub use facts::{Facts, Network6, OpenVirtual, VirtualSocket};
pub use policy::{Aim, End, Facets, Here, Hop, Lead, Policy, RuleSet, RuleShown, RuleView, Ruling, Witness};
pub use routes::{Backend, Endpoint, Routes, Target};
