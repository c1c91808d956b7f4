//! A connection that was written down beforehand.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::{Packet, Passing, ReceiveError};

type Incoming = Result<(Vec<u8>, Vec<OwnedFd>), ReceiveError>;

/// The fake of [`Passing`]: hands out what it was given and remembers what it was told. When nothing is left, the
/// other side has ended.
#[derive(Debug, Default)]
pub struct Script {
    incoming: RefCell<VecDeque<Incoming>>,
    sent: RefCell<Vec<(Vec<u8>, usize)>>,
}

impl Script {
    /// A packet to be received after those before it.
    #[must_use]
    pub fn then(self, bytes: &[u8], descriptors: Vec<OwnedFd>) -> Script {
        self.incoming.borrow_mut().push_back(Ok((bytes.to_vec(), descriptors)));
        self
    }

    /// A failure to be met after the packets before it.
    #[must_use]
    pub fn then_fail(self, error: ReceiveError) -> Script {
        self.incoming.borrow_mut().push_back(Err(error));
        self
    }

    /// What was sent: bytes, and how many descriptors with them.
    pub fn sent(&self) -> Vec<(Vec<u8>, usize)> {
        self.sent.borrow().clone()
    }
}

impl Passing for Script {
    fn receive(&self, buffer: &mut [u8]) -> Result<Packet, ReceiveError> {
        let Some(next) = self.incoming.borrow_mut().pop_front() else { return Ok(Packet::default()) };
        let (bytes, descriptors) = next?;
        let room = buffer.len();
        let to = buffer.get_mut(..bytes.len()).ok_or(ReceiveError::TooLong(room))?;
        to.copy_from_slice(&bytes);
        Ok(Packet { length: bytes.len(), descriptors })
    }

    fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.sent.borrow_mut().push((bytes.to_vec(), descriptors.len()));
        Ok(bytes.len())
    }
}
