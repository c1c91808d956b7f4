//! HTTP: HTTP/1.1 and HTTP/2 in, HTTP/1.1 and HTTP/2 out.
//!
//! A connection begins in [`fast`], which serves plain requests by hand. At the first that is not plain it passes
//! [`guard`] (strict framing), hyper (parsing), [`forward`] (canonical target, route,
//! permit, fields) and `relay::http` (balancing, pools). One that opens HTTP/2 is [`two`]'s from there on. Nothing is
//! buffered but heads.

pub(crate) mod answer;
pub(crate) mod authority;
pub(crate) mod conn;
mod counted;
pub(crate) mod explain;
mod extended;
mod fast;
mod forward;
pub(crate) mod framer;
mod guard;
mod head;
pub(crate) mod headers;
pub(crate) mod log;
mod manner;
pub(crate) mod path;
mod patience;
mod pulls;
mod rate;
mod refusal;
pub(crate) mod table;
pub(crate) mod two;
mod watch;

pub(crate) use refusal::Refusal;
