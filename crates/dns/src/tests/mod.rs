//! What the whole face says, without sockets.

pub(crate) mod answer;
mod bounds;
mod differential;
mod guard;
mod incremental;
mod scenario;
pub(crate) mod world;
