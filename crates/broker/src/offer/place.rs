//! How a program's socket is connected to.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use sys::pass::{Caller, Kind, Passing as _, ReceiveError, Socket, UnixAddress, caller};
use tokio::net::UnixStream;

/// How often somebody whose queue is full is tried again, and after which pause.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);
/// What may wait on a channel, in bytes as the kernel counts them: some twenty connections. Who takes none of them must
/// not use up what the kernel lets this daemon have under way for everybody.
const MOST_WAITING: usize = 16 << 10;

/// A socket that a program offered.
#[derive(Debug)]
pub(crate) enum Place {
    /// It listens there.
    Listening {
        /// As the program's socket says; a program in a folder tree of its own may say what it likes.
        address: UnixAddress,
        /// Who began to listen on that socket, by the kernel's word. Somebody else's socket at the same address is not
        /// the one that was offered, whatever this daemon may open.
        listener: Caller,
    },
    /// Connections are sent over it.
    Channel(Socket),
}

impl Place {
    pub(super) fn listening(socket: &OwnedFd, address: UnixAddress) -> io::Result<Place> {
        Ok(Place::Listening { address, listener: caller(socket)? })
    }

    pub(super) fn channel(socket: OwnedFd) -> io::Result<Place> {
        sys::pass::set_blocking(socket.as_fd(), false)?;
        Socket::register(socket).map(Place::Channel)
    }

    /// Resolves when the program has closed its end of a channel. What it says there is nobody's business.
    pub(super) async fn closed(&self) {
        let Place::Channel(channel) = self else { return std::future::pending().await };
        let mut buffer = [0; 512];
        loop {
            let heard = channel.when_readable(|from| {
                from.receive(&mut buffer).map_err(|error| match error {
                    ReceiveError::Socket(error) => error,
                    other => io::Error::other(other),
                })
            });
            if !heard.await.is_ok_and(|packet| packet.length > 0) {
                return;
            }
        }
    }

    /// A connection to the program, on the runtime that this is called on.
    pub(super) async fn connect(&self) -> io::Result<UnixStream> {
        let mut tries = 0;
        loop {
            match self.connect_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                done => return UnixStream::from_std(done?.into()),
            }
        }
    }

    fn connect_now(&self) -> io::Result<OwnedFd> {
        match self {
            Place::Listening { address, listener } => {
                let socket = address.connect()?;
                if caller(&socket)? == *listener {
                    return Ok(socket);
                }
                let text = format!("{} is another socket than the one that was offered", address.show());
                Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
            }
            Place::Channel(channel) => {
                if sys::pass::unread(channel)? > MOST_WAITING {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let (ours, theirs) = sys::pass::pair(Kind::Stream)?;
                sys::pass::set_blocking(theirs.as_fd(), true)?;
                channel.send(&[0], &[theirs.as_fd()])?;
                Ok(ours)
            }
        }
    }

    /// Where it is, in words.
    pub(crate) fn show(&self) -> String {
        match self {
            Place::Listening { address, .. } => address.show(),
            Place::Channel(_) => "a socket that was offered".to_owned(),
        }
    }
}
