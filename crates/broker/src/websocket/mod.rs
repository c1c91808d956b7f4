//! WebSocket (RFC 6455): framing without I/O, and a byte stream over it.
//!
//! [`Decoder`] takes bytes and gives [`Event`]s; [`write_frame`] gives bytes; both for either [`Role`]. [`Channel`] joins
//! them to a stream, answers pings and closes in good order; [`Socket`] is the byte stream that a pump moves, one binary
//! message for each write. How a connection begins is in `handshake`.
//!
//! What is absent: extensions (none is agreed to, so reserved bits are an error), and messages that are gathered
//! before they are passed on, except by whoever needs them whole ([`Channel::poll_message`], with a limit).

mod channel;
mod close;
mod decoder;
mod frame;
mod handshake;
mod mask;
mod open;
mod socket;
mod utf8;

pub use channel::{Channel, Message};
pub use close::Closing;
pub use decoder::{Decoder, Event, Fault, Kind};
pub use frame::{Header, LONGEST_CONTROL, Opcode, write_frame};
pub use handshake::{Refusal, Unanswered, accept_key, read_response, request, wanted};
pub use open::{OpenError, open};
pub use socket::Socket;

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Asked for it. Its frames are masked.
    Client,
    /// Was asked. Its frames are not.
    Server,
}
