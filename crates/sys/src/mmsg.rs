//! Datagrams in batches: `recvmmsg(2)` and `sendmmsg(2)`.
//!
//! [`Inbox`] and [`Outbox`] own every buffer and header, made once; a turn of the loop allocates nothing.
//! Both work on any socket that is readable as a descriptor, blocking or not, IPv4 or IPv6.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

/// Datagrams per call that cost and delay are balanced at.
pub const BATCH: usize = 32;
/// Most datagrams per call.
pub const MAX_BATCH: usize = 64;

/// Headers with the memory that they point to. Every pointer leads into a heap block that this value owns
/// and never resizes, so moving the value moves no memory that the kernel is told of.
struct Headers {
    messages: Box<[libc::mmsghdr]>,
    parts: Box<[libc::iovec]>,
    names: Box<[libc::sockaddr_storage]>,
    /// What the kernel says of each, where it is asked; none where nobody reads it.
    notes: Box<[Notes]>,
    bytes: Box<[u8]>,
    datagram: usize,
}

/// Room for one note of the kernel's, a socket address: CMSG_SPACE of one of IPv6 is 48 bytes at most. Aligned as headers
/// of such notes are.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Notes([u8; 64]);

// SAFETY: the raw pointers lead only into the boxes beside them, which are `Send`.
unsafe impl Send for Headers {}

impl Headers {
    fn new(batch: usize, datagram: usize) -> Headers {
        let batch = batch.clamp(1, MAX_BATCH);
        let datagram = datagram.clamp(1, 65_535);
        // SAFETY: all three are plain C structures for which all zeroes is a valid value.
        let (message, name): (libc::mmsghdr, libc::sockaddr_storage) = unsafe { mem::zeroed() };
        let mut headers = Headers {
            messages: vec![message; batch].into(),
            parts: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; batch].into(),
            names: vec![name; batch].into(),
            notes: Box::default(),
            bytes: vec![0; batch * datagram].into(),
            datagram,
        };
        let bytes = headers.bytes.as_mut_ptr();
        for slot in 0..batch {
            // SAFETY: `bytes` has `batch * datagram` elements, so every offset lies inside it.
            headers.parts[slot].iov_base = unsafe { bytes.add(slot * datagram) }.cast();
            headers.parts[slot].iov_len = datagram;
        }
        let (parts, names) = (headers.parts.as_mut_ptr(), headers.names.as_mut_ptr());
        for (slot, message) in headers.messages.iter_mut().enumerate() {
            // SAFETY: both arrays have `batch` elements.
            let (part, name) = unsafe { (parts.add(slot), names.add(slot)) };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_name = name.cast();
        }
        headers
    }

    fn take_notes(mut self) -> Headers {
        self.notes = vec![Notes([0; 64]); self.messages.len()].into();
        for (message, notes) in self.messages.iter_mut().zip(&mut self.notes) {
            message.msg_hdr.msg_control = notes.0.as_mut_ptr().cast();
        }
        self
    }

    fn capacity(&self) -> usize {
        self.messages.len()
    }

    fn slot(&self, slot: usize, length: usize) -> &[u8] {
        let start = slot * self.datagram;
        &self.bytes[start..start + length.min(self.datagram)]
    }
}

/// A received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Its bytes, as many as fit.
    pub bytes: &'a [u8],
    /// Who sent it. `None` on a connected socket whose kernel names nobody.
    pub from: Option<SocketAddr>,
    /// Where it was sent to, when it came by [`crate::listen::transparent_udp`] into an inbox that asks
    /// ([`Inbox::that_asks`]).
    pub meant: Option<SocketAddr>,
    /// True when it was longer than the buffer and its tail is lost.
    pub truncated: bool,
}

/// Where datagrams arrive.
pub struct Inbox {
    headers: Headers,
    filled: usize,
}

impl Inbox {
    /// Room for `batch` datagrams (at most [`MAX_BATCH`]) of `datagram` bytes each (at most 65,535).
    pub fn new(batch: usize, datagram: usize) -> Inbox {
        Inbox { headers: Headers::new(batch, datagram), filled: 0 }
    }

    /// The same with room for what the kernel says of each, see [`Datagram::meant`].
    pub fn that_asks(batch: usize, datagram: usize) -> Inbox {
        Inbox { headers: Headers::new(batch, datagram).take_notes(), filled: 0 }
    }

    /// Receives what has arrived, at most one batch, and forgets what was here before. Waits for nothing
    /// beyond the first datagram, and not for that when the socket does not block. Returns how many came.
    ///
    /// # Errors
    /// The kernel's, `WouldBlock` among them; on a connected socket also what ICMP brought back.
    pub fn receive(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        let headers = &mut self.headers;
        for message in &mut headers.messages {
            message.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            message.msg_hdr.msg_flags = 0;
            if !headers.notes.is_empty() {
                message.msg_hdr.msg_controllen = mem::size_of::<Notes>() as _;
            }
        }
        self.filled = 0;
        // SAFETY: the headers point into memory that `self` owns, with the lengths that they state, and the
        // exclusive borrow keeps everybody else away during the call. A null timeout is allowed.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                headers.messages.as_mut_ptr(),
                headers.messages.len() as libc::c_uint,
                libc::MSG_WAITFORONE,
                ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(self.filled)
    }

    /// How many datagrams the last call brought.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// True when the last call brought none.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// A datagram of the last call.
    pub fn get(&self, at: usize) -> Option<Datagram<'_>> {
        if at >= self.filled {
            return None;
        }
        let message = &self.headers.messages[at];
        Some(Datagram {
            bytes: self.headers.slot(at, message.msg_len as usize),
            from: address_of(&self.headers.names[at], message.msg_hdr.msg_namelen),
            meant: if message.msg_hdr.msg_controllen == 0 { None } else { meant(&message.msg_hdr) },
            truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        })
    }

    /// All datagrams of the last call.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        (0..self.filled).filter_map(|at| self.get(at))
    }
}

/// Where datagrams wait to be sent.
pub struct Outbox {
    headers: Headers,
    /// Slots below are sent.
    start: usize,
    /// Slots from here are free.
    end: usize,
}

impl Outbox {
    /// Room for `batch` datagrams (at most [`MAX_BATCH`]) of `datagram` bytes each (at most 65,535).
    pub fn new(batch: usize, datagram: usize) -> Outbox {
        Outbox { headers: Headers::new(batch, datagram), start: 0, end: 0 }
    }

    /// Buffer of the next free slot, to be written in place and then kept by [`Outbox::push`]; `None` when
    /// the batch is full. Its former contents are whatever an earlier datagram left.
    pub fn slot(&mut self) -> Option<&mut [u8]> {
        let (end, datagram) = (self.end, self.headers.datagram);
        (end < self.headers.capacity()).then(|| &mut self.headers.bytes[end * datagram..][..datagram])
    }

    /// Queues the first `length` bytes of the slot for `to`, or for the peer of a connected socket. False,
    /// and nothing is queued, when the batch is full or `length` exceeds the slot.
    pub fn push(&mut self, length: usize, to: Option<SocketAddr>) -> bool {
        let at = self.end;
        if at >= self.headers.capacity() || length > self.headers.datagram {
            return false;
        }
        self.headers.parts[at].iov_len = length;
        let header = &mut self.headers.messages[at].msg_hdr;
        match to {
            Some(to) => {
                let name = &mut self.headers.names[at];
                header.msg_namelen = write_address(name, to);
                header.msg_name = ptr::from_mut(name).cast();
            }
            None => {
                header.msg_namelen = 0;
                header.msg_name = ptr::null_mut();
            }
        }
        self.end += 1;
        true
    }

    /// Copies `bytes` into the next slot and queues them. False when that is impossible, see
    /// [`Outbox::push`].
    pub fn push_bytes(&mut self, bytes: &[u8], to: Option<SocketAddr>) -> bool {
        match self.slot() {
            Some(slot) if bytes.len() <= slot.len() => slot[..bytes.len()].copy_from_slice(bytes),
            _ => return false,
        }
        self.push(bytes.len(), to)
    }

    /// How many datagrams wait.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// True when nothing more can be queued before everything that waits is sent.
    pub fn is_full(&self) -> bool {
        self.end >= self.headers.capacity()
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Sends what waits, as much of it as the kernel takes in one call; returns how many went. Call again
    /// while something waits.
    ///
    /// # Errors
    /// `WouldBlock` keeps everything. Any other error is about the first datagram that waited (an
    /// unreachable network, a message too long): that one is dropped and the rest still waits.
    pub fn send(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        let waiting = &mut self.headers.messages[self.start..self.end];
        if waiting.is_empty() {
            return Ok(0);
        }
        // SAFETY: as in `receive`; the kernel reads the parts and writes only `msg_len`.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_fd().as_raw_fd(),
                waiting.as_mut_ptr(),
                waiting.len() as libc::c_uint,
                libc::MSG_NOSIGNAL,
            )
        };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error());
        match &sent {
            Ok(sent) => self.start += sent,
            Err(cause) if matches!(cause.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.start += 1,
        }
        if self.start == self.end {
            self.clear();
        }
        sent
    }
}

/// Where a datagram was sent to, as its notes say (`IP_ORIGDSTADDR`, `IPV6_ORIGDSTADDR`).
fn meant(header: &libc::msghdr) -> Option<SocketAddr> {
    // SAFETY: control and its length are as the kernel left them, in memory that lives as long as the header; these
    // macros stay within it.
    let mut note = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !note.is_null() {
        // SAFETY: a note that the kernel wrote, whole.
        let (about, data) = unsafe { (&*note, libc::CMSG_DATA(note)) };
        let length = match (about.cmsg_level, about.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_ORIGDSTADDR) => mem::size_of::<libc::sockaddr_in>(),
            (libc::IPPROTO_IPV6, libc::IPV6_ORIGDSTADDR) => mem::size_of::<libc::sockaddr_in6>(),
            _ => 0,
        };
        // SAFETY: arithmetic alone.
        let whole = unsafe { libc::CMSG_LEN(length as libc::c_uint) } as _;
        if length > 0 && about.cmsg_len >= whole {
            // SAFETY: a plain C structure for which all zeroes is a valid value.
            let mut name: libc::sockaddr_storage = unsafe { mem::zeroed() };
            // SAFETY: the note has `length` bytes after its header, and the storage is larger than either address.
            unsafe { ptr::copy_nonoverlapping(data, ptr::from_mut(&mut name).cast(), length) };
            return address_of(&name, length as libc::socklen_t);
        }
        // SAFETY: as above.
        note = unsafe { libc::CMSG_NXTHDR(header, note) };
    }
    None
}

fn address_of(name: &libc::sockaddr_storage, length: libc::socklen_t) -> Option<SocketAddr> {
    let (name, length) = (ptr::from_ref(name), length as usize);
    // SAFETY: `sockaddr_storage` is at least as large and as aligned as either; the kernel's length says how
    // much of it was written, and any bytes are valid for these structures.
    unsafe {
        match i32::from((*name).ss_family) {
            libc::AF_INET if length >= mem::size_of::<libc::sockaddr_in>() => {
                let v4 = &*name.cast::<libc::sockaddr_in>();
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 if length >= mem::size_of::<libc::sockaddr_in6>() => {
                let v6 = &*name.cast::<libc::sockaddr_in6>();
                let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
                Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

fn write_address(name: &mut libc::sockaddr_storage, address: SocketAddr) -> libc::socklen_t {
    let name = ptr::from_mut(name);
    // SAFETY: as in `address_of`; each arm writes a whole structure that fits into the storage.
    unsafe {
        match address {
            SocketAddr::V4(v4) => {
                let mut raw: libc::sockaddr_in = mem::zeroed();
                raw.sin_family = libc::AF_INET as libc::sa_family_t;
                raw.sin_port = v4.port().to_be();
                raw.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
                name.cast::<libc::sockaddr_in>().write(raw);
                mem::size_of::<libc::sockaddr_in>() as libc::socklen_t
            }
            SocketAddr::V6(v6) => {
                let mut raw: libc::sockaddr_in6 = mem::zeroed();
                raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                raw.sin6_port = v6.port().to_be();
                raw.sin6_addr.s6_addr = v6.ip().octets();
                raw.sin6_flowinfo = v6.flowinfo();
                raw.sin6_scope_id = v6.scope_id();
                name.cast::<libc::sockaddr_in6>().write(raw);
                mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn pair(address: &str) -> Option<(UdpSocket, UdpSocket)> {
        let (a, b) = (UdpSocket::bind(address).ok()?, UdpSocket::bind(address).ok()?);
        b.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        Some((a, b))
    }

    fn round_trip(address: &str) {
        let Some((a, b)) = pair(address) else {
            println!("skipped: cannot bind {address} here");
            return;
        };
        let to = b.local_addr().unwrap();
        let mut outbox = Outbox::new(BATCH, 1500);
        for number in 0..5u8 {
            assert!(outbox.push_bytes(&vec![number; 10 + usize::from(number)], Some(to)));
        }
        while !outbox.is_empty() {
            outbox.send(&a).unwrap();
        }
        let mut inbox = Inbox::new(BATCH, 1500);
        let mut got = Vec::new();
        while got.len() < 5 {
            inbox.receive(&b).unwrap();
            got.extend(inbox.iter().map(|d| (d.bytes.to_vec(), d.from, d.truncated)));
        }
        for (number, (bytes, from, truncated)) in got.into_iter().enumerate() {
            assert_eq!(bytes, vec![number as u8; 10 + number]);
            assert_eq!(from, Some(a.local_addr().unwrap()));
            assert!(!truncated);
        }
    }

    #[test]
    fn carries_batches_over_ipv4() {
        round_trip("127.0.0.1:0");
    }

    #[test]
    fn carries_batches_over_ipv6() {
        round_trip("[::1]:0");
    }

    #[test]
    fn says_when_a_datagram_was_cut() {
        let (a, b) = pair("127.0.0.1:0").unwrap();
        a.send_to(&[7; 100], b.local_addr().unwrap()).unwrap();
        let mut inbox = Inbox::new(4, 64);
        assert_eq!(inbox.receive(&b).unwrap(), 1);
        let got = inbox.get(0).unwrap();
        assert_eq!((got.bytes, got.truncated), (&[7; 64][..], true));
        assert_eq!(inbox.get(1), None);
    }

    #[test]
    fn says_where_a_datagram_was_sent_to() {
        for (any, one) in [("0.0.0.0:0", "127.3.2.1"), ("[::]:0", "[::1]")] {
            let (Ok(a), Ok(b)) = (UdpSocket::bind(any), UdpSocket::bind(any)) else {
                println!("skipped: cannot bind {any} here");
                continue;
            };
            let port = b.local_addr().unwrap().port();
            crate::listen::tell_meant(&b, b.local_addr().unwrap()).unwrap();
            let to: SocketAddr = format!("{one}:{port}").parse().unwrap();
            let (mut asks, mut plain) = (Inbox::that_asks(4, 64), Inbox::new(4, 64));
            for _ in 0..2 {
                a.send_to(b"x", to).unwrap();
            }
            b.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
            let mut seen = 0;
            while seen < 2 {
                seen += asks.receive(&b).unwrap();
                assert!(asks.iter().all(|datagram| datagram.meant == Some(to) && datagram.bytes == b"x"));
            }
            a.send_to(b"x", to).unwrap();
            assert_eq!(plain.receive(&b).unwrap(), 1);
            assert_eq!(plain.get(0).unwrap().meant, None);
            // A socket that was not asked to say it.
            let (a, b) = pair("127.0.0.1:0").unwrap();
            a.send_to(b"x", b.local_addr().unwrap()).unwrap();
            assert_eq!(asks.receive(&b).unwrap(), 1);
            assert_eq!(asks.get(0).unwrap().meant, None);
        }
    }

    #[test]
    fn replies_in_place_on_a_connected_socket() {
        let (a, b) = pair("127.0.0.1:0").unwrap();
        a.connect(b.local_addr().unwrap()).unwrap();
        let mut outbox = Outbox::new(2, 64);
        outbox.slot().unwrap()[..3].copy_from_slice(b"abc");
        assert!(outbox.push(3, None));
        assert!(outbox.push_bytes(b"defg", None));
        assert!(outbox.is_full() && outbox.slot().is_none() && !outbox.push_bytes(b"h", None));
        assert_eq!(outbox.send(&a).unwrap(), 2);
        assert!(outbox.is_empty() && !outbox.is_full());
        let mut buffer = [0; 64];
        assert_eq!(b.recv(&mut buffer).unwrap(), 3);
        assert_eq!(b.recv(&mut buffer).unwrap(), 4);
    }

    #[test]
    fn one_bad_destination_does_not_hold_up_the_rest() {
        let (a, b) = pair("127.0.0.1:0").unwrap();
        let mut outbox = Outbox::new(4, 64);
        outbox.push_bytes(b"lost", Some("[2001:db8::1]:9".parse().unwrap()));
        outbox.push_bytes(b"kept", Some(b.local_addr().unwrap()));
        assert!(outbox.send(&a).is_err());
        assert_eq!(outbox.send(&a).unwrap(), 1);
        let mut buffer = [0; 64];
        assert_eq!(b.recv(&mut buffer).unwrap(), 4);
    }

    #[test]
    fn an_empty_socket_would_block() {
        let (a, _b) = pair("127.0.0.1:0").unwrap();
        a.set_nonblocking(true).unwrap();
        let mut inbox = Inbox::new(4, 64);
        assert_eq!(inbox.receive(&a).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(inbox.is_empty());
    }
}
