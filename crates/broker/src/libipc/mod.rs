//! What libipc's programs speak, of both generations, and where their services listen.
//!
//! | | C (0.7) | Zig |
//! |---|---|---|
//! | header | type `u8`, length `u32` big-endian, user type `u8` | length `u32` big-endian |
//! | lookup | type 3, `service;IPC_NETWORK` | the same without a type |
//! | answer | a frame `ok`, then one byte with the descriptor | `ok` bare, with the descriptor |
//! | folder | `/run/ipc`, the broker's socket is `network` | `/tmp/.libipc-run`, it is `ipc` |
//!
//! The two are told apart by their first byte, so that either may come in at either socket. Old readers read once
//! for each message: everything here leaves in one write, and nothing follows before it was read.

mod exchange;
mod folder;
mod frame;
mod lookup;

pub(crate) use exchange::ask_protocol;
pub(crate) use folder::Folder;
pub use frame::{Frame, FrameError, Generation, read};
pub(crate) use lookup::serve;
pub use lookup::wanted;
