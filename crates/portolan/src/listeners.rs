//! Every address that a node answers on, taken before anything else happens.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, anyhow, bail};
use sys::listen::Sharing;

use crate::config::Config;
use crate::daemon::guard::Leader;
use crate::daemon::handed;
use crate::daemon::holder::{Transport, holder};
use crate::daemon::home::{self, Home};

/// Where a running node answers. Ports are the real ones, also where 0 was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// HTTP API.
    pub http: Vec<SocketAddr>,
    /// DNS, UDP and TCP each.
    pub dns: Vec<SocketAddr>,
    /// TCP proxy: the service's name, then bytes.
    pub tcp_proxy: Vec<SocketAddr>,
    /// HTTP proxy.
    pub http_proxy: Vec<SocketAddr>,
    /// TLS: HTTPS, and services by the name that is asked for.
    pub tls_proxy: Vec<SocketAddr>,
    /// HTTPS for the world.
    pub public_tls: Vec<SocketAddr>,
    /// HTTP for the world.
    pub public_http: Vec<SocketAddr>,
    /// Configured listeners of single services, TCP then UDP.
    pub services: Vec<SocketAddr>,
    /// GOST's discovery on a port of its own.
    pub gost: Vec<SocketAddr>,
    /// NetSel's byte protocol.
    pub netsel: Vec<SocketAddr>,
    /// The gateway without TLS.
    pub gateway: Vec<SocketAddr>,
    /// The gateway with TLS.
    pub gateway_tls: Vec<SocketAddr>,
    /// Where programs of other hosts greet the broker.
    pub broker: Vec<SocketAddr>,
    /// The mesh, once this node belongs to a cluster.
    pub mesh: Vec<SocketAddr>,
}

impl Addresses {
    /// All of them, with what each is.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let all = [
            ("HTTP API", &self.http),
            ("DNS", &self.dns),
            ("TCP proxy", &self.tcp_proxy),
            ("HTTP proxy", &self.http_proxy),
            ("TLS proxy", &self.tls_proxy),
            ("HTTPS for the world", &self.public_tls),
            ("HTTP for the world", &self.public_http),
            ("service", &self.services),
            ("GOST", &self.gost),
            ("NetSel", &self.netsel),
            ("gateway", &self.gateway),
            ("TLS gateway", &self.gateway_tls),
            ("broker", &self.broker),
            ("mesh", &self.mesh),
        ];
        all.into_iter().flat_map(|(what, list)| list.iter().map(move |address| (what, *address)))
    }
}

/// The open sockets, until their faces take them.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) api: api::Listeners,
    pub(crate) dns: dns::Listeners,
    pub(crate) proxy: proxy::Listeners,
    pub(crate) gost: Option<TcpListener>,
    pub(crate) netsel: Option<TcpListener>,
    pub(crate) mesh: Option<mesh::Sockets>,
    pub(crate) broker: broker::Listeners,
    pub(crate) gateway: broker::gateway::Listeners,
}

impl Listeners {
    /// Takes every address, or none.
    ///
    /// # Errors
    /// The first that cannot be had: which one, who holds it, which key moves it.
    pub(crate) fn reserve(
        config: &Config,
        is_member: bool,
        leader: Option<&Leader>,
    ) -> anyhow::Result<Listeners> {
        let handed = handed::sockets().context("take the sockets of the service manager")?;
        guard_beyond_loopback(config, &handed.addresses()?)?;
        let config = &handed.instead(config.clone());
        let mut api = api::reserve(&config.api).map_err(|error| match error {
            api::BindError::Tcp { address, cause } => {
                refused("the HTTP API", "api.listen", Transport::Tcp, address, cause)
            }
            error @ api::BindError::Unix { .. } => anyhow!(error),
        })?;
        let dns = dns::Listeners::bind(&config.dns).map_err(|error| {
            let by = if error.protocol == "UDP" { Transport::Udp } else { Transport::Tcp };
            refused("DNS", "dns.listen", by, error.address, error.cause)
        })?;
        let threads = config.relay.thread_count().context("count the processors for data threads")?;
        let mut proxy = proxy::Listeners::reserve(&config.proxy, threads).map_err(|error| {
            let by = if error.protocol == "UDP" { Transport::Udp } else { Transport::Tcp };
            refused(&error.purpose, "proxy", by, error.address, error.cause)
        })?;
        for group in leader.into_iter().flat_map(Leader::listeners) {
            let group = group.context("take the listener of virtual addresses")?;
            proxy.lead(group.address, group.tcp);
            proxy.lead_datagrams(group.address, group.udp);
        }
        let gost = config.gost.listen.map(|address| tcp("GOST", "gost.listen", address)).transpose()?;
        let netsel =
            config.netsel.listen.map(|address| tcp("NetSel", "netsel.listen", address)).transpose()?;
        let mesh = is_member.then(|| mesh(&config.mesh)).transpose()?;
        let mut broker = broker::Listeners::reserve(&config.broker)?;
        api.tcp.extend(handed.tcp);
        api.unix.extend(handed.unix);
        for socket in handed.broker {
            broker.add(socket).context("take the broker's socket of the service manager")?;
        }
        let gateway = broker::gateway::Listeners::reserve(&config.gateway)
            .map_err(|error| refused("the gateway", error.key, Transport::Tcp, error.address, error.cause))?;
        Ok(Listeners { api, dns, proxy, gost, netsel, mesh, broker, gateway })
    }

    /// Adds the Unix socket of the data directory, unless the configuration names another or none.
    pub(crate) fn open_local(&mut self, config: &Config, home: Option<&Home>) -> anyhow::Result<()> {
        let (None, Some(home)) = (&config.api.socket, home) else { return Ok(()) };
        match home::socket(home.dir()) {
            Some(path) => self.api.unix.push(api::reserve_unix(&path)?),
            None => tracing::warn!(
                data_dir = %home.dir().display(),
                "no Unix socket in the data directory: its path is too long for one; api.socket names another"
            ),
        }
        Ok(())
    }

    pub(crate) fn addresses(&self) -> anyhow::Result<Addresses> {
        let of = |listener: &Option<TcpListener>| {
            let found = listener.iter().map(TcpListener::local_addr).collect::<io::Result<_>>();
            found.context("ask for a listener's address")
        };
        let services = self.proxy.tcp().chain(self.proxy.udp()).map(|(address, _)| address);
        Ok(Addresses {
            http: self.api.addresses(),
            dns: self.dns.addresses().to_vec(),
            tcp_proxy: self.proxy.named(),
            http_proxy: self.proxy.http(),
            tls_proxy: self.proxy.tls(),
            public_tls: self.proxy.public_tls(),
            public_http: self.proxy.public_http(),
            services: services.collect(),
            gost: of(&self.gost)?,
            netsel: of(&self.netsel)?,
            gateway: self.gateway.plain().context("ask for the gateway's address")?,
            gateway_tls: self.gateway.tls().context("ask for the gateway's address")?,
            broker: self.broker.addresses(),
            mesh: self.mesh.iter().map(mesh::Sockets::local_addr).collect::<io::Result<_>>()?,
        })
    }
}

/// A listener beyond loopback is open to everybody who can send a packet: that must have been said in words.
/// GOST's own port has a token for it and asks by itself.
fn guard_beyond_loopback(config: &Config, handed: &[SocketAddr]) -> anyhow::Result<()> {
    if config.node.open_beyond_loopback {
        return Ok(());
    }
    let lists = [
        ("api.listen", &config.api.listen[..]),
        ("a socket of the service manager's", handed),
        ("dns.listen", &config.dns.listen),
        ("netsel.listen", config.netsel.listen.as_slice()),
        ("proxy.named", &config.proxy.named),
        ("proxy.http.listen", &config.proxy.http.listen),
        ("proxy.tls.listen", &config.proxy.tls.listen),
        ("broker.incoming.tcp", &config.broker.incoming.tcp),
        ("broker.incoming.tls", unasked(&config.broker)),
    ];
    let of_services = config.proxy.tcp.iter().map(|listener| ("proxy.tcp", &listener.listen));
    let of_services = of_services.chain(config.proxy.udp.iter().map(|l| ("proxy.udp", &l.listen)));
    let all = lists.into_iter().flat_map(|(key, list)| list.iter().map(move |address| (key, address)));
    let open = all.chain(of_services).find(|(_, address)| !address.ip().is_loopback());
    match open {
        Some((key, address)) => bail!(
            "listen on {address} (`{key}`): that is beyond loopback, and whoever comes is let in unasked; set \
             node.open_beyond_loopback = true if that is meant, or listen on 127.0.0.1"
        ),
        None => Ok(()),
    }
}

/// Where the broker lets whoever comes by TLS in without any proof.
fn unasked(broker: &broker::Config) -> &[SocketAddr] {
    let asks = broker.keys.is_some() || broker.incoming.clients.is_some();
    if asks { &[] } else { &broker.incoming.tls }
}

/// Where other nodes arrive. What they find there asks everybody for a certificate.
fn mesh(config: &mesh::Config) -> anyhow::Result<mesh::Sockets> {
    mesh::Sockets::bind(config).map_err(|error| match error {
        mesh::StartError::Bind { address, transport, cause } => {
            let by = if transport == "UDP" { Transport::Udp } else { Transport::Tcp };
            refused("the mesh", "mesh.listen", by, address, cause)
        }
        error => anyhow!(error),
    })
}

fn tcp(what: &str, key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    sys::listen::tcp(address, Sharing::Exclusive)
        .map_err(|cause| refused(what, key, Transport::Tcp, address, cause))
}

/// Why an address cannot be had, and what moves it.
fn refused(what: &str, key: &str, by: Transport, address: SocketAddr, cause: io::Error) -> anyhow::Error {
    let kind = cause.kind();
    let error = anyhow!(cause);
    let error = match kind {
        io::ErrorKind::AddrInUse => match holder(by, address) {
            Some(who) => error.context(format!("{who} holds that address")),
            None => error,
        },
        io::ErrorKind::PermissionDenied => error.context("ports below 1024 need CAP_NET_BIND_SERVICE"),
        io::ErrorKind::AddrNotAvailable => error.context("no interface of this host has that address"),
        _ => error,
    };
    error.context(format!("listen on {address} for {what}; `{key}` in the configuration moves it"))
}

/// The address that this node registers: the configured one, else loopback while nobody else can reach it
/// anyway, else the one that the default route leaves from. A wrong guess is no reason not to start.
pub(crate) fn node_address(config: &Config, addresses: &Addresses) -> IpAddr {
    if let Some(address) = config.node.address {
        return address;
    }
    // Who is told where the mesh is, is told where the host is.
    let mut told = config.mesh.advertise.iter().filter_map(|address| address.parse::<SocketAddr>().ok());
    if let Some(told) = told.find(|_| !addresses.mesh.is_empty()) {
        return told.ip();
    }
    if addresses.iter().all(|(_, address)| address.ip().is_loopback()) {
        return Ipv4Addr::LOCALHOST.into();
    }
    let guess = health::default_address();
    tracing::info!(address = %guess, "chose this node's address by the default route; node.address sets another");
    guess
}

/// Lets every listener whose address is taken have a free port instead: `dev` starts whatever else runs
/// here. Somebody may still take one in between; then the start says so.
pub(crate) fn avoid_taken(config: &mut Config) {
    config.for_each_listener(|address| {
        let is_taken = sys::listen::tcp(*address, Sharing::Exclusive).is_err()
            || sys::listen::udp(*address, Sharing::Exclusive, 0).is_err();
        if is_taken && address.port() != 0 {
            address.set_port(0);
        }
    });
}
