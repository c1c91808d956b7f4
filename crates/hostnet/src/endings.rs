//! The end of connections by a process of its own, for a daemon that has no CAP_NET_ADMIN any more.
//!
//! The protocol is closed: names of connections go one way, how many of them have ended comes back. Each message is four
//! bytes of length, most significant first, and JSON.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sys::host::{Connection, Ends, Transport};

/// Most connections in one message, and the longest message that holds so many.
const MOST: usize = 4096;
const LONGEST: usize = 1 << 20;
/// Longest that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection's name.
#[derive(Debug, Serialize, Deserialize)]
struct Name {
    is_udp: bool,
    own: SocketAddr,
    peer: SocketAddr,
    cookie: u64,
}

type Ended = Result<usize, String>;

/// Ends what it is told to, for whoever holds the other end: until that end is closed. Blocks.
///
/// # Errors
/// The stream's, and messages that are none.
pub fn serve(mut stream: UnixStream, ends: &impl Ends) -> io::Result<()> {
    while let Some(names) = receive::<Vec<Name>>(&mut stream)? {
        let all: Vec<Connection> = names.iter().map(connection).collect();
        let ended: Ended = ends.end(&all).map_err(|cause| cause.to_string());
        send(&mut stream, &ended)?;
    }
    Ok(())
}

fn connection(name: &Name) -> Connection {
    let transport = if name.is_udp { Transport::Udp } else { Transport::Tcp };
    Connection { transport, own: name.own, peer: name.peer, cookie: name.cookie }
}

/// The same as [`sys::host::ThisHost`], by the process at the other end.
#[derive(Debug)]
pub struct Far(Mutex<UnixStream>);

impl Far {
    /// By whoever serves the other end of `stream`.
    ///
    /// # Errors
    /// The stream's.
    pub fn new(stream: UnixStream) -> io::Result<Far> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Far(Mutex::new(stream)))
    }
}

impl Ends for Far {
    fn end(&self, all: &[Connection]) -> io::Result<usize> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut total = 0;
        for part in all.chunks(MOST) {
            let name = |connection: &Connection| Name {
                is_udp: connection.transport == Transport::Udp,
                own: connection.own,
                peer: connection.peer,
                cookie: connection.cookie,
            };
            send(&mut stream, &part.iter().map(name).collect::<Vec<_>>())?;
            let lost = || io::Error::other("the process that may end connections is lost");
            let ended = receive::<Ended>(&mut stream)?.ok_or_else(lost)?;
            total += ended.map_err(io::Error::other)?;
        }
        Ok(total)
    }
}

fn send(to: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let mut bytes = u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
    bytes.extend(body);
    to.write_all(&bytes)
}

/// The next message; `None` at the end of the stream.
fn receive<T: DeserializeOwned>(from: &mut UnixStream) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(cause) => return Err(cause),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends those with an even cookie; refuses to touch 13.
    struct Even;

    impl Ends for Even {
        fn end(&self, all: &[Connection]) -> io::Result<usize> {
            match all.iter().any(|connection| connection.cookie == 13) {
                true => Err(io::Error::other("not that one")),
                false => Ok(all.iter().filter(|connection| connection.cookie.is_multiple_of(2)).count()),
            }
        }
    }

    fn name(cookie: u64) -> Connection {
        let [own, peer] = ["[::1]:1000", "[::1]:2000"].map(|text| text.parse().unwrap());
        Connection { transport: Transport::Tcp, own, peer, cookie }
    }

    #[test]
    fn the_other_process_does_it_and_tells() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let serving = std::thread::spawn(move || serve(theirs, &Even));
        let far = Far::new(ours).unwrap();
        let many: Vec<_> = (100..10_100).map(|cookie| name(u64::MAX - cookie)).collect();
        assert_eq!(far.end(&many).unwrap(), 5000);
        assert_eq!(far.end(&[name(12), name(13)]).unwrap_err().to_string(), "not that one");
        assert_eq!(far.end(&[name(14)]).unwrap(), 1, "and goes on");
        drop(far);
        serving.join().unwrap().unwrap();
    }

    #[test]
    fn what_is_no_message_ends_it_and_a_lost_process_is_an_error() {
        for bytes in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x02{}", b"\0\0\0\x09[]"] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(bytes).unwrap();
            ours.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(serve(theirs, &Even).is_err(), "{bytes:?}");
            assert!(Far::new(ours).unwrap().end(&[name(2)]).is_err());
        }
    }
}
