//! The one place where it is decided who may do what. Every request passes `judge`, whichever door it comes
//! through; what its answer shows passes a [`Lens`] with the same rights; and what only its body or the state
//! tells is judged by its handler through the same [`Caller`], under the eyes of the dispatcher, which lets no
//! answer out of a handler that forgot to ask.

mod caller;
mod desk;
mod lens;
mod needs;
mod registrations;

pub(crate) use caller::{Caller, Shown};
pub(crate) use desk::{Desk, shown_token};
pub(crate) use lens::Lens;
pub use needs::Needs;
pub(crate) use needs::{Demand, judge};
pub(crate) use registrations::{may_deregister, may_register};
