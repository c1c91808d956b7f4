//! Streams moved inside the kernel: `splice(2)` between sockets, through a pipe.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// A pipe with a count of what is in it.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
    held: usize,
}

impl Pipe {
    /// A pipe with room for about `wanted` bytes. Takes what the kernel grants: an unprivileged user above
    /// `fs.pipe-user-pages-soft` gets less.
    ///
    /// # Errors
    /// The kernel's, mostly that there are no descriptors left.
    pub fn new(wanted: usize) -> io::Result<Pipe> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let capacity = fcntl_setpipe_size(&write, wanted).unwrap_or(4096);
        Ok(Pipe { read, write, capacity, held: 0 })
    }

    /// Bytes in the pipe.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves what `from` has into the pipe; 0 means that it ended. Meant for an empty pipe: then `WouldBlock`
    /// always speaks of `from`.
    ///
    /// # Errors
    /// The kernel's, `WouldBlock` among them.
    pub fn fill(&mut self, from: &impl AsFd) -> io::Result<usize> {
        self.fill_at_most(from, usize::MAX)
    }

    /// The same, of not more than so many bytes.
    ///
    /// # Errors
    /// The kernel's, `WouldBlock` among them.
    pub fn fill_at_most(&mut self, from: &impl AsFd, most: usize) -> io::Result<usize> {
        let moved = splice(from, None, &self.write, None, self.capacity.min(most), FLAGS)?;
        self.held += moved;
        Ok(moved)
    }

    /// Moves what the pipe holds into `to`; returns how much went.
    ///
    /// # Errors
    /// The kernel's, `WouldBlock` among them.
    pub fn empty_into(&mut self, to: &impl AsFd) -> io::Result<usize> {
        let moved = splice(&self.read, None, to, None, self.held, FLAGS)?;
        self.held -= moved;
        Ok(moved)
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn moves_bytes_from_socket_to_socket() {
        let ((mut source, from), (to, mut sink)) = (pair(), pair());
        let mut pipe = Pipe::new(256 * 1024).unwrap();
        source.write_all(b"through the kernel").unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), 18);
        assert_eq!(pipe.held(), 18);
        assert_eq!(pipe.empty_into(&to).unwrap(), 18);
        assert_eq!(pipe.held(), 0);
        let mut got = [0; 18];
        sink.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"through the kernel");
        drop(source);
        assert_eq!(pipe.fill(&from).unwrap(), 0, "the end is a zero");
    }
}
