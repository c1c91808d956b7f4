//! A connection that was handed over is the kernel's: it should cost what one costs that the program made itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::harness::rounds::interleave;
use crate::harness::{Context, process};
use crate::load::brokered::{Program, bulk, pings};
use crate::load::streams::Backends;
use crate::report::{Goal, Row};
use crate::subject::ask;
use crate::subject::portolan::{Home, Portolan};

pub(super) const HOW: &str =
    "64 bytes there and back, and writes of 256 KiB into a server that throws them away.";
/// Turns of each in one measurement.
const TURNS: u32 = 10;
/// In bytes.
const GIGABIT: f64 = 1e9 / 8.0;
const LIMIT: Duration = Duration::from_secs(20);

/// Of those that were handed over, and of those that were not.
#[derive(Default)]
struct Figures {
    trips: [Figure; 2],
    bulk: [Figure; 2],
}

pub(super) fn rows(context: &Context, cores: &Cores, backends: &Backends) -> Result<Vec<Row>> {
    let [mut tcp, mut unix]: [Figures; 2] = Default::default();
    let mut cpu = Figure::default();
    interleave(context, &["connections handed over"], |_, _| {
        let folder = tempfile::tempdir_in(&context.scratch).context("make a folder for sockets")?;
        let (portolan, _home) = serving(context, cores, &folder, "")?;
        register(&portolan, "echo", backends.echo)?;
        register(&portolan, "sink", backends.sink)?;
        let program = Program::at(&broker(&folder))?;
        let within = Within::start(folder.path())?;
        within.serve();
        let tcp_to = |name: &str| program.connect(name).map(TcpStream::from);
        let unix_to = |name: &str| program.connect(name).map(UnixStream::from);
        let direct = |at| {
            let stream = TcpStream::connect(at).context("connect to a server")?;
            stream.set_nodelay(true).context("set TCP_NODELAY")?;
            anyhow::Ok(stream)
        };
        let direct_unix =
            |name: &str| UnixStream::connect(folder.path().join(name)).context("connect to a server");
        let mut echoes = [tcp_to("echo")?, direct(backends.echo)?];
        let mut sinks = [tcp_to("sink")?, direct(backends.sink)?];
        let mut unix_echoes = [unix_to("echo-within")?, direct_unix("echo-within")?];
        let mut unix_sinks = [unix_to("sink-within")?, direct_unix("sink-within")?];
        let (pid, time) =
            (portolan.process.pid(), context.size(Duration::from_secs(2), Duration::from_millis(500)));
        let (before, begin) = (process::cpu(pid)?, Instant::now());
        alternate(&mut echoes, time, 1.0, pings, &mut tcp.trips)?;
        alternate(&mut sinks, time, GIGABIT, bulk, &mut tcp.bulk)?;
        alternate(&mut unix_echoes, time, 1.0, pings, &mut unix.trips)?;
        alternate(&mut unix_sinks, time, GIGABIT, bulk, &mut unix.bulk)?;
        let spent = process::cpu(pid)? - before;
        cpu.push(100.0 * spent.as_secs_f64() / begin.elapsed().as_secs_f64());
        drop(program);
        portolan.stop()
    })?;
    let beside = |what: &str, unit, [handed, direct]: [Figure; 2]| {
        Row::new(what, unit, handed).beside("direct", direct).goal(Goal::RatioAtLeast(0.98))
    };
    Ok(vec![
        beside("handed over, TCP: round trips", "/s", tcp.trips),
        beside("handed over, TCP: bulk", "Gbit/s", tcp.bulk),
        beside("handed over, Unix: round trips", "/s", unix.trips),
        beside("handed over, Unix: bulk", "Gbit/s", unix.bulk),
        Row::new("the daemon's CPU meanwhile, of one processor", "%", cpu).goal(Goal::Below(0.5)),
    ])
}

/// Does the same with both, in turns, and notes how many `unit`s each did in a second.
fn alternate<S>(
    streams: &mut [S; 2],
    time: Duration,
    unit: f64,
    work: impl Fn(&mut S, Duration) -> Result<u64>,
    figures: &mut [Figure; 2],
) -> Result<()> {
    let mut done = [0; 2];
    for turn in 0..TURNS as usize {
        for first in 0..2 {
            // Who begins changes, like everything else that could matter.
            let at = (turn + first) % 2;
            done[at] += work(&mut streams[at], time / TURNS)?;
        }
    }
    for (figure, done) in figures.iter_mut().zip(done) {
        figure.push(done as f64 / unit / time.as_secs_f64());
    }
    Ok(())
}

/// Servers within this host, for as long as this process lives.
struct Within {
    echo: UnixListener,
    sink: UnixListener,
}

impl Within {
    fn start(folder: &Path) -> Result<Within> {
        let listen = |name: &str| UnixListener::bind(folder.join(name)).context("listen within this host");
        Ok(Within { echo: listen("echo-within")?, sink: listen("sink-within")? })
    }

    fn serve(self) {
        std::thread::spawn(move || each(&self.echo, |stream| repeat(stream, 256, true)));
        std::thread::spawn(move || each(&self.sink, |stream| repeat(stream, 256 * 1024, false)));
    }
}

fn each(listener: &UnixListener, serve: impl Fn(UnixStream) + Send + Copy + 'static) {
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || serve(stream));
    }
}

/// Takes what comes, and says it again if that is wished.
fn repeat(mut stream: UnixStream, room: usize, says_it: bool) {
    let mut bytes = vec![0; room];
    while let Ok(length @ 1..) = stream.read(&mut bytes) {
        if says_it && stream.write_all(&bytes[..length]).is_err() {
            return;
        }
    }
}

pub(super) fn broker(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("broker.sock")
}

/// A daemon with one data thread, its broker's socket in a folder in which it also looks for services.
pub(super) fn serving(
    context: &Context,
    cores: &Cores,
    folder: &TempDir,
    more: &str,
) -> Result<(Portolan, Home)> {
    let (socket, within) = (broker(folder), folder.path());
    let settings =
        format!("relay.threads = 1\nbroker.socket = {socket:?}\nbroker.libipc.zig = {within:?}\n{more}");
    let home = Home::with(&context.scratch, &settings)?;
    Ok((home.start(context, cores)?, home))
}

pub(super) fn register(portolan: &Portolan, name: &str, at: std::net::SocketAddr) -> Result<()> {
    let body = format!("{{\"Name\":\"{name}\",\"Address\":\"{}\",\"Port\":{}}}", at.ip(), at.port());
    let registered = ask::status(portolan.api, LIMIT, "PUT", "/v1/agent/service/register", &body);
    ensure!(registered == Some(200), "a registration was answered with {registered:?}");
    Ok(())
}
