//! The sans-IO consensus driver: input and time in, effects out.
//!
//! [`Driver`] orders opaque commands among 1, 2, 3, 5 or 7 servers. It is built around `omnipaxos`, pinned to
//! one version, and contains what simulation found wrong or demanding in it:
//!
//! | found | contained by |
//! |---|---|
//! | delta snapshots corrupt state | the snapshot type is empty; missing state is fetched beside the core ([`Frame::Pull`]) and durable before the core hears of it |
//! | order of delivery is a safety requirement | one ordered stream per direction; sessions; what an old one queued dies with it |
//! | a lost tail is not sent again | a new session starts both sides over; a static decided index resets the session |
//! | a replica can stay wedged behind its own promise | a leader that hears of a higher promise outbids it |
//! | catch-up is one unbounded message | entries and checkpoints in pieces, by credit |
//! | reads may be stale | read-index, with both its conditions |
//! | no clusters of one | an engine of our own for that case |
//! | a membership change starts an empty instance | indexes carry over; nobody takes office without the state before it |
//!
//! # Absent on purpose
//! No clock: time is an argument. No I/O: [`Disk`] and the host do it. No randomness: identities come from the
//! host. No unordered iteration. No retry, time limit or deduplication of commands: a command that is refused
//! or lost is the proposer's to propose again, under the same envelope.
//!
//! # Turns
//! The host feeds input (`handle_*`), then asks for a [`Turn`], makes its batch durable, and only then gets the
//! effects. Any number of inputs may go into one turn: that is the group commit.

mod advance;
mod command;
mod driver;
mod engine;
mod frame;
mod image;
mod input;
mod journal;
mod link;
mod member;
mod membership;
mod pull;
mod reads;
mod recover;
mod serve;
mod setup;
mod turn;
mod watch;
pub mod wire;
mod write;

pub use command::{Command, Index, Marker};
pub use driver::{Driver, OpenError, Refused, Route, Status};
pub use frame::{Frame, Gossip, Hello, Lane, WIRE_VERSION};
pub use image::Image;
pub use member::{Configuration, Identity, MAX_MEMBERS, ServerId, Successor};
pub use membership::Unfit;
pub use recover::NotWhole;
#[doc(hidden)]
pub use setup::Sabotage;
pub use setup::Setup;
pub use turn::{Disk, Effect, Persisted, PieceRead, ReadId, Refusal, Session, Turn};
pub use write::{Batch, Write};
