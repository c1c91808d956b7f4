//! What Portolan asks of the kernel, each thing in a module of its own behind plain functions and types.
//!
//! The only crate with `unsafe`, and with calls that the standard library does not offer. It decides
//! nothing: which socket to open, what to send, when to splice is its callers' business.
//!
//! [`listen`] opens sockets, [`mmsg`] moves datagrams in batches, [`splice`] moves streams inside the
//! kernel, [`pass`] hands descriptors to other processes, [`host`] observes this host, [`process`] adjusts this
//! process, [`privilege`] gives up what it may, [`activation`] hands sockets from program to program.

pub mod activation;
pub mod host;
pub mod listen;
pub mod mmsg;
pub mod pass;
pub mod privilege;
pub mod process;
pub mod splice;
#[cfg(feature = "testing")]
pub mod tap;
