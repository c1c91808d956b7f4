//! Sockets, reserved before anything else is done.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::num::NonZero;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::config::Config;

/// Sockets that are bound and not served yet.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) udp: Vec<UdpSocket>,
    pub(crate) tcp: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

/// A socket could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("bind DNS {protocol} socket {address}")]
pub struct BindError {
    /// `UDP` or `TCP`.
    pub protocol: &'static str,
    /// Which address.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub cause: io::Error,
}

/// A few milliseconds' worth of queries at full rate. What waits longer was given up by its client, and a
/// longer queue would only make every answer late: beyond this the kernel drops.
const RECEIVE_BUFFER: usize = 1 << 20;
const BACKLOG: i32 = 256;
/// How often another free port is tried when TCP cannot have the one that UDP got.
const TRIES: usize = 16;

impl Listeners {
    /// Binds every address of `config`: UDP once per data thread, TCP once.
    ///
    /// # Errors
    /// [`BindError`] says which socket and why; nothing stays bound then.
    pub fn bind(config: &Config) -> Result<Listeners, BindError> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = if config.threads == 0 { cores } else { config.threads };
        let mut listeners = Listeners { udp: Vec::new(), tcp: Vec::new(), addresses: Vec::new() };
        for address in &config.listen {
            let mut result = listeners.bind_one(*address, threads);
            for _ in 1..TRIES {
                match &result {
                    Err(error) if address.port() == 0 && error.cause.kind() == io::ErrorKind::AddrInUse => {
                        result = listeners.bind_one(*address, threads);
                    }
                    _ => break,
                }
            }
            result?;
        }
        Ok(listeners)
    }

    /// Where clients can ask, as bound.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// TCP first, without sharing: whoever holds the port already, another of us among them, is noticed.
    fn bind_one(&mut self, address: SocketAddr, threads: usize) -> Result<(), BindError> {
        let error = |protocol, address| move |cause| BindError { protocol, address, cause };
        let tcp = tcp(address).map_err(error("TCP", address))?;
        let bound = tcp.local_addr().map_err(error("TCP", address))?;
        let sockets: Result<Vec<_>, _> = (0..threads).map(|_| udp(bound, threads > 1)).collect();
        self.udp.extend(sockets.map_err(error("UDP", bound))?);
        self.tcp.push(tcp);
        self.addresses.push(bound);
        Ok(())
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of a predecessor may still linger; a living listener is an error all the same.
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn udp(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(shared)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_an_error_that_names_it() {
        let config = Config { listen: vec!["127.0.0.1:0".parse().unwrap()], threads: 2, ..Config::default() };
        let first = Listeners::bind(&config).unwrap();
        assert_eq!((first.udp.len(), first.tcp.len()), (2, 1));
        let again = Config { listen: first.addresses().to_vec(), ..config };
        let error = Listeners::bind(&again).unwrap_err();
        assert!(error.to_string().contains(&first.addresses()[0].to_string()), "{error}");
    }
}
