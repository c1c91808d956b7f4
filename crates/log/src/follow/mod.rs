//! The engine of a node that does not vote: it tails a server, and appends and reads through it.
//!
//! It is [`crate::paxos`] on a node that no configuration names: the driver pulls decided entries, or a checkpoint
//! and then entries where it is too far behind, from a server that it is connected to, and from another when that
//! one goes; appends and barriers are passed on to the leader. What arrives is made durable here, so that a
//! restart needs no server to answer (stale) reads. A follower that is added to the servers votes from then on
//! without being opened anew, and a server that is removed goes on as a follower.
//!
//! Connect it to some of the servers, not to other followers: any number may follow, and the servers carry them.

use std::sync::Arc;

use crate::events::EventReceiver;
use crate::paxos::{Begin, Config, Paxos};
use crate::transport::{LinkReceiver, Transport};
use crate::{LogError, paxos};

/// Opens a follower's copy, or begins it on an empty disk; [`Config::begin`] is not looked at. On an empty disk
/// [`crate::Event::Replayed`] comes at once, with nothing before it: what the servers hold comes after it.
///
/// # Errors
/// As [`paxos::open`].
pub fn open(
    config: &Config,
    transport: Arc<dyn Transport>,
    links: LinkReceiver,
) -> Result<(Arc<Paxos>, EventReceiver), LogError> {
    paxos::open(&config.clone().beginning(Begin::Join), transport, links)
}
