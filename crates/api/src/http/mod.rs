//! What every handler sees of HTTP: a request, an answer, a failure in words.

mod answer;
mod failure;
mod query;
mod request;

pub(crate) use answer::{Answer, Reply};
pub(crate) use failure::{Failure, chain};
pub(crate) use query::{Malformed, Query, percent_decode};
pub(crate) use request::{Parts, Peer, Request, decode};
