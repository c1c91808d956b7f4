//! What the whole face says, without sockets.

mod answer;
mod bounds;
mod differential;
mod guard;
mod incremental;
mod scenario;
mod world;
