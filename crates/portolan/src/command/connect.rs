//! `portolan connect NAME`: a connection to a service, as standard input and output or as a descriptor.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use client::broker::{Broker, BrokerError};
use consul::broker::{ProblemKind, Socket};
use consul::own::Endpoint;
use sys::pass::Passing as _;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy, split, stdin, stdout};
use tokio::net::{TcpStream, UnixStream};

use super::resolve::{authority, resolve};
use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};
use crate::remote::{self, Remote};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Service name
    name: String,
    /// Pass the connection on as a descriptor over standard output, which must be a Unix socket, and end
    #[arg(long)]
    fdpass: bool,
    #[command(flatten)]
    way: Way,
}

/// By whom a connection is made.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Way {
    /// Socket of the broker; else as PORTOLAN_BROKER says, else the usual places
    #[arg(long, value_name = "PATH")]
    broker: Option<PathBuf>,
}

/// A connected socket, of a kind that has an end to be passed on.
pub(crate) struct Connection {
    pub(crate) descriptor: OwnedFd,
    socket: Socket,
}

/// A connection whose bytes can be read.
pub(crate) enum Opened {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let connection = args.way.connect(&args.name, global)?;
    if args.fdpass {
        return pass_on(&connection);
    }
    super::block_on(async move {
        connection.relay().await.with_context(|| format!("relay bytes with \"{}\"", args.name))?;
        Ok(())
    })
}

impl Way {
    /// A connection to a service: from the broker, which hands it over; by the API and plain TCP where an API was
    /// named or there is no broker.
    pub(crate) fn connect(&self, name: &str, global: &Global) -> Result<Connection> {
        let broker = match &self.broker {
            Some(path) => Some(Broker::at(path).map_err(meaning)?),
            None if names_an_api(global) => None,
            None => Broker::find(),
        };
        let Some(broker) = broker else { return by_address(name, global) };
        let connected = broker.within(global.timeout).and_then(|broker| broker.connect(name));
        let (descriptor, connected) = connected.map_err(meaning)?;
        Ok(Connection { descriptor, socket: connected.socket })
    }
}

/// Who names an API means that daemon, and not whichever has a broker here, unless that is named too.
fn names_an_api(global: &Global) -> bool {
    let names_a_broker = std::env::var_os("PORTOLAN_BROKER").is_some_and(|value| !value.is_empty());
    !names_a_broker && (global.api.is_some() || remote::is_named_in_environment())
}

/// What a refusal of the broker's means to a script, and to a user.
pub(crate) fn meaning(error: BrokerError) -> Failure {
    let exit = match &error {
        BrokerError::Refused(problem) => match problem.kind {
            ProblemKind::Malformed | ProblemKind::Version => Exit::Usage,
            ProblemKind::Unknown => Exit::NotFound,
            ProblemKind::Denied => Exit::Denied,
            ProblemKind::Unhealthy | ProblemKind::Unreachable | ProblemKind::Busy => Exit::Unreachable,
            ProblemKind::Unsupported | ProblemKind::Internal => Exit::Failure,
        },
        _ => Exit::Unreachable,
    };
    Failure::new(exit, error)
}

fn by_address(name: &str, global: &Global) -> Result<Connection> {
    let remote = Remote::new(global)?;
    let mut found = None;
    super::block_on(async {
        let resolution = resolve(&remote, name).await?;
        let stream = dial(name, resolution.endpoints, global).await?;
        found = Some(plain(stream).context("take the connection out of the runtime")?);
        Ok(())
    })?;
    let descriptor = found.ok_or_else(|| anyhow!("no connection"))?;
    Ok(Connection { descriptor, socket: Socket::Tcp })
}

fn plain(stream: TcpStream) -> io::Result<OwnedFd> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream.into())
}

/// The first endpoint that answers, beginning at a random one.
async fn dial(name: &str, mut endpoints: Vec<Endpoint>, global: &Global) -> Result<TcpStream> {
    let mut last = anyhow!("it has no healthy endpoint");
    fastrand::shuffle(&mut endpoints);
    for endpoint in &endpoints {
        let address = authority(endpoint);
        match tokio::time::timeout(global.timeout, TcpStream::connect(&address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(cause)) => last = anyhow!(cause).context(format!("connect to {address}")),
            Err(_) => last = anyhow!("{address} did not answer within {:?}", global.timeout),
        }
    }
    Err(Failure::new(Exit::Unreachable, last.context(format!("reach the service \"{name}\"")))
        .advise(format!("`portolan instances {name}` shows its health")))
}

/// One byte with the descriptor, as OpenSSH's ProxyUseFdpass and `nc -F` have it.
pub(crate) fn pass_on(connection: &Connection) -> Result {
    let out = io::stdout();
    out.as_fd().send(&[0], &[connection.descriptor.as_fd()]).map_err(|cause| {
        Failure::new(Exit::Usage, anyhow!(cause).context("pass the connection on over standard output"))
            .advise("standard output must be a Unix socket, as OpenSSH makes it with ProxyUseFdpass=yes")
    })?;
    Ok(())
}

impl Connection {
    /// A connection that was made without the broker.
    pub(crate) fn tcp(stream: std::net::TcpStream) -> Connection {
        Connection { descriptor: stream.into(), socket: Socket::Tcp }
    }

    /// Joins it to standard input and output. The end of standard input is passed on; the end of what the service
    /// says is the end.
    pub(crate) async fn relay(self) -> io::Result<()> {
        match self.open()? {
            Opened::Tcp(stream) => relay(stream).await,
            Opened::Unix(stream) => relay(stream).await,
        }
    }

    /// The connection as bytes, in the runtime that this is called on.
    pub(crate) fn open(self) -> io::Result<Opened> {
        sys::pass::set_blocking(self.descriptor.as_fd(), false)?;
        match self.socket {
            Socket::Tcp => Ok(Opened::Tcp(TcpStream::from_std(self.descriptor.into())?)),
            Socket::Unix => Ok(Opened::Unix(UnixStream::from_std(self.descriptor.into())?)),
            Socket::Udp => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "it speaks in datagrams, which a stream would run together; use `connect --fdpass`",
            )),
        }
    }
}

async fn relay(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> io::Result<()> {
    let (mut from, mut to) = split(stream);
    let upward = tokio::spawn(async move {
        copy(&mut stdin(), &mut to).await?;
        to.shutdown().await
    });
    let mut out = stdout();
    copy(&mut from, &mut out).await?;
    out.flush().await?;
    upward.abort();
    Ok(())
}
