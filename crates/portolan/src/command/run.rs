//! `portolan run NAME -- CMD`: a command that is registered for as long as it runs.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use client::{Check, Registration};
use rustix::process::{Pid, Signal, kill_process};
use state::units::parse_duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::offered::Offered;
use super::register::Instance;
use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};
use crate::remote::Remote;

/// Longest that leaving the catalog may hold up a signal to the command.
const FAREWELL: Duration = Duration::from_secs(2);
/// Time between two probes of the check that is made up when none is given.
const OWN_CHECK_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Service name: letters, digits and hyphens
    name: String,
    /// Port that the command listens on; `auto` chooses a free one. The command finds it in $PORT
    #[arg(long, short, value_parser = port)]
    port: Option<u16>,
    /// Listen for the command on a free port of loopback and hand it the socket, as systemd does (LISTEN_FDS)
    #[arg(long, conflicts_with = "port")]
    listen: bool,
    /// With --listen, on a Unix socket that the broker is given: the command opens no port. The daemon has to be root's, or this
    /// user's own
    #[arg(
        long,
        requires = "listen",
        conflicts_with_all = ["inetd", "id", "address", "tags", "meta", "check_http", "check_tcp", "check_grpc"]
    )]
    unix: bool,
    /// Listen, and run the command for each connection with that on its standard input and output, as inetd does
    #[arg(long, conflicts_with_all = ["port", "listen"])]
    inetd: bool,
    #[command(flatten)]
    instance: Instance,
    /// The instance is gone this long after the last sign of life; it is renewed at a sixth of it
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    lease: Duration,
    /// Command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

fn port(text: &str) -> std::result::Result<u16, String> {
    match text {
        "auto" => Ok(0),
        _ => text.parse().map_err(|_| "write a port number, or `auto`".to_owned()),
    }
}

pub(crate) fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let quiet = global.quiet;
    super::block_on(async {
        code = match args.unix {
            true => offered(&args, quiet).await?,
            false => registered(args, &Remote::new(global)?, quiet).await?,
        };
        Ok(())
    })?;
    Ok(code)
}

async fn registered(args: Args, remote: &Remote, quiet: bool) -> Result<ExitCode> {
    let mut signals = signals()?;
    let listener = if args.listen || args.inetd { Some(listen()?) } else { None };
    let port = match (&listener, args.port) {
        (Some(listener), _) => listener.local_addr().context("ask for the listener's port")?.port(),
        (None, Some(0)) => free_port()?,
        (None, given) => given.unwrap_or(0),
    };
    let mut service = args.instance.service(&args.name, port)?.lease(args.lease);
    if port != 0 && !args.instance.has_checks() {
        let address = args.instance.address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let check = Check::tcp(std::net::SocketAddr::new(address, port)).interval(OWN_CHECK_INTERVAL);
        service = service.check(check);
    }
    // The daemon first: a command that nobody can find should not start at all.
    let registration = remote.bounded(service.register(&remote.client)).await?;
    if !quiet {
        eprintln!("portolan: registered {} as instance {}", args.name, registration.id());
    }
    if let Some(listener) = listener.as_ref().filter(|_| args.inetd) {
        let served = super::activated::inetd(listener, &args.command, &mut signals).await;
        Place::Registered(registration).leave().await;
        return served.map(|()| ExitCode::SUCCESS).map_err(Failure::from);
    }
    let command = match listener {
        Some(listener) => super::activated::command(&args.name, &args.command, listener),
        None => plain(&args.command),
    };
    let started =
        command.map_err(Err).and_then(|command| spawn(command, &args.name, registration.id(), port));
    let child = match started {
        Ok(child) => child,
        Err(failure) => {
            Place::Registered(registration).leave().await;
            return failure;
        }
    };
    let status =
        attend(child, Place::Registered(registration), &mut signals).await.context("wait for the command")?;
    Ok(ExitCode::from(code_of(status)))
}

/// The command with a socket that the broker leads programs to.
async fn offered(args: &Args, quiet: bool) -> Result<ExitCode> {
    let mut signals = signals()?;
    let offered = Offered::begin(&args.name)?;
    if !quiet {
        eprintln!("portolan: offered {} as instance {}", args.name, offered.instance);
    }
    let listener = offered.listener.try_clone().context("take the listener")?;
    let command = super::activated::command(&args.name, &args.command, listener)?;
    let child = match spawn(command, &args.name, &offered.instance, 0) {
        Ok(child) => child,
        Err(failure) => return failure,
    };
    let status =
        attend(child, Place::Offered(offered), &mut signals).await.context("wait for the command")?;
    Ok(ExitCode::from(code_of(status)))
}

/// Where the command is reached: by programs on this host, and through the mesh by those on others.
fn listen() -> Result<TcpListener> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen on a free port of loopback")?)
}

fn plain(command: &[OsString]) -> Result<Command> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::new(Exit::Usage, anyhow!("there is no command after --")));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

fn free_port() -> Result<u16> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    Ok(free.context("look for a free port")?.port())
}

/// The command, or how a shell would end when it cannot be started: 127 not found, 126 not runnable.
fn spawn(
    mut child: Command,
    name: &str,
    instance: &str,
    port: u16,
) -> std::result::Result<Child, Result<ExitCode>> {
    child.env("PORTOLAN_SERVICE", name).env("PORTOLAN_INSTANCE", instance);
    if port != 0 {
        child.env("PORT", port.to_string());
    }
    child.spawn().map_err(|cause| {
        eprintln!("portolan: start {}: {cause}", child.as_std().get_program().to_string_lossy());
        let not_found = cause.kind() == std::io::ErrorKind::NotFound;
        Ok(ExitCode::from(if not_found { 127 } else { 126 }))
    })
}

/// Passes signals on until the command ends. Who is told to leave leaves the catalog first, so that nobody is
/// sent to a program that is going.
async fn attend(
    mut child: Child,
    place: Place,
    signals: &mut mpsc::Receiver<Signal>,
) -> std::io::Result<ExitStatus> {
    let mut place = Some(place);
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    loop {
        tokio::select! {
            status = child.wait() => {
                if let Some(place) = place.take() {
                    place.leave().await;
                }
                return status;
            }
            Some(signal) = signals.recv() => {
                let is_farewell = matches!(signal, Signal::TERM | Signal::INT | Signal::QUIT);
                if let Some(place) = place.take_if(|_| is_farewell) {
                    place.leave().await;
                }
                // A terminal has sent its interrupt to the whole group already.
                let is_delivered = signal == Signal::INT && std::io::stdin().is_terminal();
                if let (Some(pid), false) = (pid, is_delivered) {
                    // Fails only when the command has just ended; then `wait` says so.
                    let _ = kill_process(pid, signal);
                }
            }
        }
    }
}

/// How others find the command.
enum Place {
    Registered(Registration),
    /// As long as this lives.
    Offered(Offered),
}

impl Place {
    async fn leave(self) {
        let registration = match self {
            Place::Registered(registration) => registration,
            Place::Offered(offered) => return drop(offered),
        };
        let id = registration.id().to_owned();
        match tokio::time::timeout(FAREWELL, registration.deregister()).await {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => eprintln!("portolan: {id} is still registered until its lease ends: {cause}"),
            Err(_) => eprintln!("portolan: {id} is still registered until its lease ends: no answer in time"),
        }
    }
}

fn signals() -> Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel(16);
    let all = [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP, Signal::USR1, Signal::USR2];
    for kind in all {
        let mut stream = signal(SignalKind::from_raw(kind.as_raw())).context("listen for signals")?;
        let sender = sender.clone();
        tokio::spawn(
            async move { while stream.recv().await.is_some() && sender.send(kind).await.is_ok() {} },
        );
    }
    Ok(receiver)
}

/// As a shell has it: 128 and the signal's number for who was killed.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(1)
}
