//! The small processes beside the daemon that alone may change the host's network, and end connections of others: the first
//! is spoken of over their standard input, the second over their standard output.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::Context as _;
use hostnet::endings::Far;
use hostnet::firewall::{self, guard};
use sys::host::{Ends, ThisHost, may_end};
use sys::listen::{self, Sharing};

use crate::config::Config;

/// Name of the hidden command that it runs.
pub(crate) const COMMAND: &str = "guard";

/// One such process. It ends when this value does.
pub(crate) struct Guard {
    stream: UnixStream,
    ends: Arc<Far>,
    child: Child,
}

/// All of a daemon's.
#[derive(Clone, Default)]
pub(crate) struct Guards {
    /// Sets the firewall.
    pub(crate) firewall: Option<Arc<Guard>>,
    /// Leads virtual addresses to one listener.
    pub(crate) leader: Option<Arc<Leader>>,
    /// Ends connections, where nobody else is there to.
    ender: Option<Arc<Guard>>,
}

/// One listener for all virtual addresses, and who has their packets led to it.
pub(crate) struct Leader {
    guard: Guard,
    four: Group,
    six: Option<Group>,
}

/// Sockets of one address and port, one of each protocol for every data thread.
pub(crate) struct Group {
    pub(crate) address: SocketAddr,
    pub(crate) tcp: Vec<TcpListener>,
    pub(crate) udp: Vec<UdpSocket>,
}

/// How often the kernel is asked for another port, where the one that it chose is somebody's for datagrams.
const MOST_CHOICES: usize = 50;
/// Bytes of datagrams that may wait.
const UDP_BUFFER: usize = 1 << 20;

impl Guards {
    /// Starts those that the configuration needs, then gives the right up in this process: to be called before there
    /// are other threads.
    ///
    /// # Errors
    /// Programs or rights that the kernel does not give.
    pub(crate) fn start(config: &Config) -> anyhow::Result<Guards> {
        let wants_firewall = config.exposure.enabled && config.firewall.mode != firewall::Mode::Off;
        let may = sys::privilege::may_change_network();
        let firewall = (wants_firewall && may).then(Guard::spawn).transpose()?;
        let leader = config.hostnet.transparent.then(|| Leader::start(config)).transpose()?;
        let ender = (may && firewall.is_none() && leader.is_none()).then(Guard::spawn).transpose()?;
        if may {
            sys::privilege::give_up_network().context("give the right to change the network up")?;
        }
        let (firewall, ender) = (firewall.map(Arc::new), ender.map(Arc::new));
        Ok(Guards { firewall, leader: leader.map(Arc::new), ender })
    }

    /// What ends connections of this host that programs hold; nothing where nobody lets us.
    pub(crate) fn ends(&self) -> Option<Arc<dyn Ends>> {
        let leader = self.leader.as_ref().map(|leader| &leader.guard);
        let guard = self.firewall.as_deref().or(leader).or(self.ender.as_deref());
        guard.map(|guard| guard.ends.clone() as Arc<dyn Ends>).or_else(own_ends)
    }
}

impl Guard {
    /// Starts one for the firewall, where there is something to guard and we may, and gives the right up in this
    /// process: to be called before there are other threads.
    ///
    /// # Errors
    /// Programs or rights that the kernel does not give.
    pub(crate) fn start(config: &firewall::Config) -> anyhow::Result<Option<Guard>> {
        if config.mode == firewall::Mode::Off || !sys::privilege::may_change_network() {
            return Ok(None);
        }
        let guard = Guard::spawn()?;
        sys::privilege::give_up_network().context("give the right to change the network up")?;
        Ok(Some(guard))
    }

    fn spawn() -> anyhow::Result<Guard> {
        let pair = || UnixStream::pair().context("make a pair of sockets for the guard");
        let ((stream, words), (ends, endings)) = (pair()?, pair()?);
        let program = std::env::current_exe().context("find this program for the guard")?;
        let mut command = Command::new(program);
        // Under another name it would be another program's command line.
        command.arg0("portolan").arg(COMMAND).stdin(Stdio::from(OwnedFd::from(words)));
        command.stdout(Stdio::from(OwnedFd::from(endings)));
        let child = command.spawn().context("start the guard")?;
        let ends = Arc::new(Far::new(ends).context("set up the way to the guard")?);
        Ok(Guard { stream, ends, child })
    }

    /// Keeps the firewall as [`firewall::run`] does, by that process.
    pub(crate) async fn run(&self, config: firewall::Config, inputs: firewall::Inputs) {
        match self.stream.try_clone() {
            Ok(stream) => guard::run(stream, config, inputs).await,
            Err(cause) => tracing::error!(%cause, "the guard cannot be spoken to"),
        }
    }
}

impl Leader {
    /// Takes the sockets while it may, one for each data thread, and starts the process.
    fn start(config: &Config) -> anyhow::Result<Leader> {
        if !sys::privilege::may_change_network() {
            anyhow::bail!(
                "hostnet.transparent needs CAP_NET_ADMIN: give it (AmbientCapabilities= in the daemon's unit), or leave it out"
            );
        }
        let threads = config.relay.thread_count().context("count the data threads")?;
        let take = |at: IpAddr| {
            Group::take(at, threads).context("take the transparent sockets of virtual addresses")
        };
        let four = take(Ipv4Addr::LOCALHOST.into())?;
        let wants_six = config.hostnet.range_v6.is_some();
        let six = wants_six.then(|| take(Ipv6Addr::LOCALHOST.into())).transpose()?;
        Ok(Leader { guard: Guard::spawn()?, four, six })
    }

    /// The sockets; the kernel's error where one cannot be had again.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = io::Result<Group>> {
        std::iter::once(&self.four).chain(&self.six).map(Group::again)
    }

    /// Where packets of IPv4 are to be led, and those of IPv6.
    pub(crate) fn ports(&self) -> (u16, Option<u16>) {
        (self.four.address.port(), self.six.as_ref().map(|group| group.address.port()))
    }

    /// The way to who does it.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn way(&self) -> io::Result<UnixStream> {
        self.guard.stream.try_clone()
    }
}

impl Group {
    /// All of them on one port, which the kernel chooses.
    fn take(at: IpAddr, threads: usize) -> io::Result<Group> {
        let mut taken = Group::take_once(at, threads);
        for _ in 0..MOST_CHOICES {
            match &taken {
                Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => {
                    taken = Group::take_once(at, threads)
                }
                _ => break,
            }
        }
        taken
    }

    fn take_once(at: IpAddr, threads: usize) -> io::Result<Group> {
        let first = listen::transparent((at, 0).into(), Sharing::ReusePort)?;
        let address = first.local_addr()?;
        let mut tcp = vec![first];
        for _ in 1..threads {
            tcp.push(listen::transparent(address, Sharing::ReusePort)?);
        }
        // Before the first of ours, somebody else's of the same user would be joined in silence.
        drop(listen::udp(address, Sharing::Exclusive, 0)?);
        let udp =
            (0..threads.max(1)).map(|_| listen::transparent_udp(address, Sharing::ReusePort, UDP_BUFFER));
        Ok(Group { address, tcp, udp: udp.collect::<io::Result<_>>()? })
    }

    fn again(&self) -> io::Result<Group> {
        let tcp = self.tcp.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
        let udp = self.udp.iter().map(UdpSocket::try_clone).collect::<io::Result<_>>()?;
        Ok(Group { address: self.address, tcp, udp })
    }
}

/// The same by this process itself.
pub(crate) fn own_ends() -> Option<Arc<dyn Ends>> {
    may_end().then(|| Arc::new(ThisHost) as Arc<dyn Ends>)
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The end of the stream is its word to leave; a clone of it may still be held by a task.
        drop(self.stream.shutdown(std::net::Shutdown::Both));
        drop(self.child.wait());
    }
}
