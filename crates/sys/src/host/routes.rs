//! Asking the kernel which way a packet of ours would take: `rtnetlink(7)`, `RTM_GETROUTE`. No privilege is needed.

use std::io;
use std::net::Ipv4Addr;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// `RTM_NEWROUTE` and `RTM_GETROUTE`.
const NEW: u16 = 24;
const GET: u16 = 26;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 0x1;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `RTA_DST`, `RTA_SRC` and `RTA_GATEWAY`.
const TO: u16 = 1;
const FROM: u16 = 2;
const GATEWAY: u16 = 5;
/// `struct nlmsghdr`, and `struct rtmsg` behind it.
const HEADER: usize = 16;
const BODY: usize = 12;
/// An attribute with an address of IPv4 in it.
const ATTRIBUTE: usize = 8;

/// The gateway that a packet from one of our addresses to `peer` would go to; `None` when that is a neighbour. Where routes
/// depend on the source, this follows them.
///
/// # Errors
/// When there is no way, `from` is not ours, or the kernel does not tell.
pub fn gateway_between(from: Ipv4Addr, peer: Ipv4Addr) -> io::Result<Option<Ipv4Addr>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sendto(&socket, &request(from, peer), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut buffer = [0; 4096];
    // It is answered before the question has been sent.
    let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT)?;
    answer(buffer.get(..length).unwrap_or_default())
}

fn request(from: Ipv4Addr, peer: Ipv4Addr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + BODY + 2 * ATTRIBUTE);
    bytes.extend(u32::try_from(HEADER + BODY + 2 * ATTRIBUTE).unwrap_or(0).to_ne_bytes());
    bytes.extend(GET.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    // AF_INET, and prefixes of 32 bits.
    bytes.extend([2, 32, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for (kind, address) in [(TO, peer), (FROM, from)] {
        bytes.extend((ATTRIBUTE as u16).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(address.octets());
    }
    bytes
}

fn answer(message: &[u8]) -> io::Result<Option<Ipv4Addr>> {
    let odd = || io::Error::other("ask for a route: the answer cannot be read");
    let short = |at: usize| Some(u16::from_ne_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| -> Option<[u8; 4]> { message.get(at..at + 4)?.try_into().ok() };
    match short(4).ok_or_else(odd)? {
        ERROR => {
            return Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(word(HEADER).ok_or_else(odd)?)));
        }
        NEW => {}
        _ => return Err(odd()),
    }
    let mut at = HEADER + BODY;
    while let Some((length, kind)) = short(at).zip(short(at + 2)) {
        let length = usize::from(length);
        if length < 4 {
            return Err(odd());
        }
        if kind == GATEWAY && length == ATTRIBUTE {
            return Ok(word(at + 4).map(Ipv4Addr::from));
        }
        at += length.next_multiple_of(4);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_and_a_neighbour_needs_no_gateway() {
        let own = Ipv4Addr::LOCALHOST;
        assert_eq!(gateway_between(own, own).unwrap(), None);
        // TEST-NET-1 is nobody's own address.
        assert!(gateway_between(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 9)).is_err());
    }

    #[test]
    fn an_answer_is_read_up_to_where_it_is_cut_off() {
        let mut message = request(Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(1, 1, 1, 1));
        message[4..6].copy_from_slice(&NEW.to_ne_bytes());
        assert_eq!(answer(&message).unwrap(), None);
        message.extend([ATTRIBUTE as u16, GATEWAY].map(u16::to_ne_bytes).concat());
        message.extend([10, 0, 0, 1]);
        assert_eq!(answer(&message).unwrap(), Some(Ipv4Addr::new(10, 0, 0, 1)));
        for cut in 0..message.len() {
            let _ = answer(&message[..cut]);
        }
        message.truncate(HEADER + BODY);
        message.extend([0; 4]);
        assert!(answer(&message).is_err());
    }
}
