//! Listening sockets, taken before anything else happens: a start that cannot have them touches nothing.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use sys::listen::{self, Sharing};

use crate::config::{Config, ServiceListener};

/// Bytes that a UDP socket may queue.
pub(crate) const UDP_BUFFER: usize = 1024 * 1024;

/// A listener could not be had.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address} ({protocol}) for {purpose}")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
    /// What for, in words.
    pub purpose: String,
    /// Why not.
    #[source]
    pub cause: io::Error,
}

/// One socket for each data thread, all on the same address.
#[derive(Debug)]
pub(crate) struct Group<T> {
    pub(crate) address: SocketAddr,
    pub(crate) sockets: Vec<T>,
}

/// All configured listeners.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) named: Vec<Group<TcpListener>>,
    pub(crate) http: Vec<Group<TcpListener>>,
    pub(crate) tls: Vec<Group<TcpListener>>,
    pub(crate) public_http: Vec<Group<TcpListener>>,
    pub(crate) public_tls: Vec<Group<TcpListener>>,
    pub(crate) tcp: Vec<(Arc<ServiceListener>, Group<TcpListener>)>,
    pub(crate) udp: Vec<(Arc<str>, Group<UdpSocket>)>,
    pub(crate) transparent: Vec<Group<TcpListener>>,
    pub(crate) led: Vec<Group<UdpSocket>>,
}

impl Listeners {
    /// Takes all sockets that `config` names, for so many data threads.
    ///
    /// # Errors
    /// The first that cannot be had.
    pub fn reserve(config: &Config, threads: usize) -> Result<Listeners, BindError> {
        let group = |address: &SocketAddr, purpose: &str| tcp_group(*address, threads, purpose);
        let named = config.named.iter().map(|at| group(at, "services by first line"));
        let http = config.http.listen.iter().map(|at| group(at, "HTTP"));
        let tls = config.tls.listen.iter().map(|at| group(at, "TLS"));
        let public_http = config.public.http.iter().map(|at| group(at, "HTTP for the world"));
        let public_tls = config.public.tls.iter().map(|at| group(at, "HTTPS for the world"));
        let tcp = config.tcp.iter().map(|listener| {
            let purpose = format!("service \"{}\"", listener.service);
            Ok((Arc::new(listener.clone()), group(&listener.listen, &purpose)?))
        });
        let udp = config.udp.iter().map(|ServiceListener { listen, service, .. }| {
            let purpose = format!("service \"{service}\"");
            Ok((service.clone(), udp_group(*listen, threads, &purpose)?))
        });
        Ok(Listeners {
            named: named.collect::<Result<_, _>>()?,
            http: http.collect::<Result<_, _>>()?,
            tls: tls.collect::<Result<_, _>>()?,
            public_http: public_http.collect::<Result<_, _>>()?,
            public_tls: public_tls.collect::<Result<_, _>>()?,
            tcp: tcp.collect::<Result<_, _>>()?,
            udp: udp.collect::<Result<_, _>>()?,
            transparent: Vec::new(),
            led: Vec::new(),
        })
    }

    /// Serves connections to all virtual addresses that the kernel leads to these sockets, each of which is bound to
    /// `address`.
    pub fn lead(&mut self, address: SocketAddr, sockets: Vec<TcpListener>) {
        self.transparent.push(Group { address, sockets });
    }

    /// The same for their datagrams, by sockets of [`sys::listen::transparent_udp`].
    pub fn lead_datagrams(&mut self, address: SocketAddr, sockets: Vec<UdpSocket>) {
        self.led.push(Group { address, sockets });
    }

    /// Where services are named in the first line.
    pub fn named(&self) -> Vec<SocketAddr> {
        self.named.iter().map(|group| group.address).collect()
    }

    /// Where HTTP is spoken.
    pub fn http(&self) -> Vec<SocketAddr> {
        self.http.iter().map(|group| group.address).collect()
    }

    /// Where TLS is spoken.
    pub fn tls(&self) -> Vec<SocketAddr> {
        self.tls.iter().map(|group| group.address).collect()
    }

    /// Where HTTP is spoken with the world.
    pub fn public_http(&self) -> Vec<SocketAddr> {
        self.public_http.iter().map(|group| group.address).collect()
    }

    /// Where HTTPS is spoken with the world.
    pub fn public_tls(&self) -> Vec<SocketAddr> {
        self.public_tls.iter().map(|group| group.address).collect()
    }

    /// TCP listeners with their services.
    pub fn tcp(&self) -> impl Iterator<Item = (SocketAddr, &Arc<str>)> {
        self.tcp.iter().map(|(listener, group)| (group.address, &listener.service))
    }

    /// UDP listeners with their services.
    pub fn udp(&self) -> impl Iterator<Item = (SocketAddr, &Arc<str>)> {
        self.udp.iter().map(|(service, group)| (group.address, service))
    }
}

/// How often the kernel is asked for another port.
const MOST_CHOICES: usize = 50;

/// `SO_REUSEPORT` would let a second daemon of the same user join in silence. Hence one exclusive socket
/// first, which fails if anybody is there.
fn tcp_group(wanted: SocketAddr, threads: usize, purpose: &str) -> Result<Group<TcpListener>, BindError> {
    let take = || {
        let address = listen::tcp(wanted, Sharing::Exclusive)?.local_addr()?;
        let sockets = (0..threads.max(1)).map(|_| listen::tcp(address, Sharing::ReusePort));
        Ok(Group { address, sockets: sockets.collect::<io::Result<_>>()? })
    };
    chosen(wanted, take).map_err(|cause| BindError {
        address: wanted,
        protocol: "TCP",
        purpose: purpose.into(),
        cause,
    })
}

fn udp_group(wanted: SocketAddr, threads: usize, purpose: &str) -> Result<Group<UdpSocket>, BindError> {
    let take = || {
        let address = listen::udp(wanted, Sharing::Exclusive, 0)?.local_addr()?;
        let sockets = (0..threads.max(1)).map(|_| listen::udp(address, Sharing::ReusePort, UDP_BUFFER));
        Ok(Group { address, sockets: sockets.collect::<io::Result<_>>()? })
    };
    chosen(wanted, take).map_err(|cause| BindError {
        address: wanted,
        protocol: "UDP",
        purpose: purpose.into(),
        cause,
    })
}

/// A port of the kernel's choice may be somebody else's between its two uses: then the kernel chooses another.
fn chosen<T>(wanted: SocketAddr, take: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let mut taken = take();
    for _ in 0..MOST_CHOICES {
        match &taken {
            Err(cause) if wanted.port() == 0 && cause.kind() == io::ErrorKind::AddrInUse => taken = take(),
            _ => break,
        }
    }
    taken
}
