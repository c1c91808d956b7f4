//! Where wishes come from.

pub mod both;
pub mod consul;
mod cursor;
pub mod household;
pub mod own;
mod read;

use std::sync::Arc;

pub use cursor::Cursor;
pub use read::{Unhealthy, unhealthy, wishes};

use crate::wish::Wishes;

/// What a source says: whole, never a difference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// What is wished; `None` until the source was heard for the first time, and then nothing may be done:
    /// silence is not an empty list.
    pub wishes: Option<Arc<Wishes>>,
    /// Why it is not heard now. The last wishes are held meanwhile.
    pub trouble: Option<String>,
    /// Somebody who may wish something was not heard yet, or too long ago, and counts as if he wished nothing.
    pub is_partial: bool,
}
