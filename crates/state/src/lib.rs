//! All that a face is handed: readers of whole states, a place to report, and the word to leave.
//!
//! Every message is a whole state and never a transition: a reader that missed ten values is right again
//! with the eleventh. This crate knows no store, no catalog and no wire.

mod drain;
mod reader;
mod report;
pub mod units;

pub use drain::{Drain, DrainTrigger, drain};
pub use reader::{Behind, Publisher, Reader, Versioned, channel};
pub use report::{Failure, Report};
