//! Default gateways: `/proc/thread-self/net/route` and `ipv6_route` (proc(5)). The thread's own file, since a
//! thread may live in another network namespace than its process.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

/// Flags of `route(8)`: the route is up, and leads over a gateway.
const UP_AND_GATEWAY: u32 = 0x3;
/// Most of a table that is looked at: a router with the whole Internet's routes has its default first.
const MOST_LINES: usize = 10_000;

/// A router that this host sends to what it does not know better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Its address on our network; link-local ones of IPv6 need the interface beside them.
    pub address: IpAddr,
    /// The interface that leads there.
    pub interface: String,
    metric: u32,
}

impl Gateway {
    /// Its address as a socket wants it, port 0: with the interface's number where that is needed.
    pub fn socket_address(&self) -> SocketAddr {
        match self.address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                SocketAddrV6::new(v6, 0, 0, index_of(&self.interface)).into()
            }
            other => (other, 0).into(),
        }
    }
}

/// 0, which means any, for an interface that is gone.
fn index_of(interface: &str) -> u32 {
    let Ok(name) = std::ffi::CString::new(interface) else { return 0 };
    // SAFETY: the name ends with a zero byte and outlives the call.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}

/// Default gateways, the most preferred first, IPv4 before IPv6.
///
/// # Errors
/// When the kernel does not tell about IPv4. A host without IPv6 has no such table.
pub fn gateways() -> io::Result<Vec<Gateway>> {
    let mut found = parse_v4(&std::fs::read_to_string("/proc/thread-self/net/route")?);
    found.extend(parse_v6(&std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap_or_default()));
    Ok(found)
}

/// The address that this host would send from to reach `peer`; nothing is sent.
///
/// # Errors
/// When there is no way there.
pub fn local_address(peer: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr =
        if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((peer, 9))?;
    Ok(socket.local_addr()?.ip())
}

fn parse_v4(table: &str) -> Vec<Gateway> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [interface, destination, gateway, flags, _, _, metric, mask, ..] = fields.as_slice() else {
            return None;
        };
        let number = |text: &str| u32::from_str_radix(text, 16).ok();
        let is_default = number(destination)? == 0 && number(mask)? == 0;
        if !is_default || number(flags)? & UP_AND_GATEWAY != UP_AND_GATEWAY {
            return None;
        }
        // The kernel prints the bytes of the address as one number of this machine's order.
        let address = Ipv4Addr::from(number(gateway)?.to_ne_bytes()).into();
        Some(Gateway { address, interface: (*interface).to_owned(), metric: metric.parse().ok()? })
    };
    sorted(table.lines().skip(1).take(MOST_LINES).filter_map(line).collect())
}

fn parse_v6(table: &str) -> Vec<Gateway> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, length, _, _, next, metric, _, _, flags, interface] = fields.as_slice() else {
            return None;
        };
        let number = |text: &str| u32::from_str_radix(text, 16).ok();
        let is_default = *length == "00" && destination.bytes().all(|b| b == b'0');
        if !is_default || number(flags)? & UP_AND_GATEWAY != UP_AND_GATEWAY {
            return None;
        }
        let address = Ipv6Addr::from(u128::from_str_radix(next, 16).ok()?).into();
        Some(Gateway { address, interface: (*interface).to_owned(), metric: number(metric)? })
    };
    sorted(table.lines().take(MOST_LINES).filter_map(line).collect())
}

fn sorted(mut gateways: Vec<Gateway>) -> Vec<Gateway> {
    gateways.sort_by_key(|gateway| gateway.metric);
    gateways
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_are_found_by_preference() {
        let first = u32::from_ne_bytes([192, 168, 77, 1]);
        let second = u32::from_ne_bytes([10, 0, 0, 1]);
        let table = format!(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
             wlan0\t00000000\t{second:08X}\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
             eth0\t00000000\t{first:08X}\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
             eth0\t004DA8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
        );
        let found: Vec<_> =
            parse_v4(&table).into_iter().map(|g| (g.address.to_string(), g.interface)).collect();
        assert_eq!(found, [("192.168.77.1".into(), "eth0".into()), ("10.0.0.1".into(), "wlan0".into())]);
    }

    #[test]
    fn the_gateway_of_ipv6_is_found_and_what_is_cut_off_is_not_read() {
        let zero = "0".repeat(32);
        let next = "20010db8007700000000000000000001";
        let line = format!("{zero} 00 {zero} 00 {next} 00000400 00000001 00000000 00000003 eth0\n");
        let found = parse_v6(&line);
        assert_eq!(found[0].address, "2001:db8:77::1".parse::<IpAddr>().unwrap());
        for cut in 0..line.len() - 1 {
            parse_v6(&line[..cut]);
            parse_v4(&line[..cut]);
        }
    }
}
