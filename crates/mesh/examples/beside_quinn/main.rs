//! What the mesh costs beside the QUIC library itself: CPU of round trips, of streams and of bulk, and their rates.
//!
//! ```sh
//! cargo run --profile fast -p portolan-mesh --example beside_quinn
//! cargo run --profile fast -p portolan-mesh --example beside_quinn -- 3   # rounds, each one's figures on a line
//! ```
//! Both ends in one process, a thread each; both sides with the same certificates, windows and limits; turns taken
//! in each of the rounds and the first turn changing sides, medians told. CPU is that of the whole process, which other
//! load disturbs less than it does the rates. The TCP carrier is shown for its bulk.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that fails has no figure"
)]

mod bare;
mod meshed;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const ROUNDS: usize = 5;
const SMALL: usize = 64;
const BULK: usize = 512 << 20;
const CHUNK: usize = 64 << 10;
const TIME: Duration = Duration::from_millis(1500);

/// A stream in both directions, whichever library it is of.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Something that opens streams to an echo (a stream that begins with 'e') or a sink ('s').
pub(crate) trait Opener {
    type Stream: Duplex;
    async fn open(&self) -> Self::Stream;
}

pub(crate) fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// The server's side of every stream.
pub(crate) async fn answer(mut stream: impl Duplex) {
    let mut bytes = vec![0; CHUNK];
    if stream.read_exact(&mut bytes[..1]).await.is_err() {
        return;
    }
    let echo = bytes[0] == b'e';
    let mut total = 0u64;
    while let Ok(length @ 1..) = stream.read(&mut bytes).await {
        total += length as u64;
        if echo && stream.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
    if !echo {
        let _ = stream.write_u64(total).await;
    }
    let _ = stream.shutdown().await;
}

/// What something costs: µs of CPU, and how often it is done in a second.
type Cost = (f64, f64);

fn cost(count: u32, begin: Instant, cpu: f64) -> Cost {
    let count = f64::from(count);
    ((cpu_seconds() - cpu) * 1e6 / count, count / begin.elapsed().as_secs_f64())
}

/// Round trips on one stream.
async fn round_trips(opener: &impl Opener) -> Cost {
    let mut stream = opener.open().await;
    let mut bytes = [1; SMALL];
    stream.write_all(b"e").await.unwrap();
    let (begin, cpu, mut count) = (Instant::now(), cpu_seconds(), 0u32);
    while begin.elapsed() < TIME {
        stream.write_all(&bytes).await.unwrap();
        stream.read_exact(&mut bytes).await.unwrap();
        count += 1;
    }
    cost(count, begin, cpu)
}

/// Streams, each with one request and one reply, `at_once` at a time.
async fn streams(opener: &impl Opener, at_once: usize) -> Cost {
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    let one = async || {
        let mut count = 0u32;
        while begin.elapsed() < TIME {
            let mut stream = opener.open().await;
            let mut bytes = [b'e'; SMALL + 1];
            stream.write_all(&bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            stream.read_exact(&mut bytes[..SMALL]).await.unwrap();
            count += 1;
        }
        count
    };
    let counts = futures_util::future::join_all((0..at_once).map(|_| one())).await;
    cost(counts.iter().sum(), begin, cpu)
}

/// Seconds of CPU per GB in one direction, and GB per second.
async fn bulk(opener: &impl Opener) -> (f64, f64) {
    let mut stream = opener.open().await;
    stream.write_all(b"s").await.unwrap();
    let bytes = vec![7; CHUNK];
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    for _ in 0..BULK / CHUNK {
        stream.write_all(&bytes).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read_u64().await.unwrap(), BULK as u64);
    let gigabytes = BULK as f64 / 1e9;
    ((cpu_seconds() - cpu) / gigabytes, gigabytes / begin.elapsed().as_secs_f64())
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Figures of one kind, by turn.
#[derive(Default)]
struct Figures {
    bare: Vec<Cost>,
    mesh: Vec<Cost>,
}

impl Figures {
    /// For programs: each round's cost and rate, `name value value…`.
    fn list(&self, what: &str) {
        for (of, turns) in [("bare", &self.bare), ("mesh", &self.mesh)] {
            let line = |take: fn(&Cost) -> f64| {
                turns.iter().map(|turn| format!(" {:.6}", take(turn))).collect::<String>()
            };
            println!("{what}.{of}.cost{}", line(|turn| turn.0));
            println!("{what}.{of}.rate{}", line(|turn| turn.1));
        }
    }

    fn tell(&self, what: &str, cost: &str, rate: &str) {
        let of = |turns: &[Cost]| {
            let (mut costs, mut rates): (Vec<f64>, Vec<f64>) = turns.iter().copied().unzip();
            (median(&mut costs), median(&mut rates))
        };
        let (bare, mesh) = (of(&self.bare), of(&self.mesh));
        let ratios = (mesh.0 / bare.0, mesh.1 / bare.1);
        println!(
            "{what:<24} bare {:>8.2} {cost} {:>10.2} {rate}   mesh {:>8.2} {cost} {:>10.2} {rate}   mesh/bare CPU {:.3} rate {:.3}",
            bare.0, bare.1, mesh.0, mesh.1, ratios.0, ratios.1
        );
    }
}

/// One turn of each; in odd rounds the mesh begins.
macro_rules! turns {
    ($round:expr, $figures:expr, $bare:expr, $mesh:expr, $measure:expr) => {
        if $round % 2 == 0 {
            $figures.bare.push($measure($bare).await);
            $figures.mesh.push($measure($mesh).await);
        } else {
            $figures.mesh.push($measure($mesh).await);
            $figures.bare.push($measure($bare).await);
        }
    };
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let given = std::env::args().nth(1).map(|rounds| rounds.parse::<usize>().expect("a number of rounds"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bare = bare::connect().await;
        let (data, carrier) = meshed::connect().await;
        let [mut trips, mut one, mut many, mut large, mut tcp] = [(); 5].map(|()| Figures::default());
        for round in 0..given.unwrap_or(ROUNDS) {
            turns!(round, trips, &bare, &data, round_trips);
            turns!(round, one, &bare, &data, async |opener: &_| streams(opener, 1).await);
            turns!(round, many, &bare, &data, async |opener: &_| streams(opener, 64).await);
            turns!(round, large, &bare, &data, bulk);
            turns!(round, tcp, &bare, &carrier, bulk);
        }
        if given.is_some() {
            for (what, figures) in [("trips", trips), ("one", one), ("many", many), ("bulk", large)] {
                figures.list(what);
            }
            return;
        }
        trips.tell("round trips, 1 stream", "µs", "/s");
        one.tell("streams, 1 at a time", "µs", "/s");
        many.tell("streams, 64 at a time", "µs", "/s");
        large.tell("bulk by QUIC", "s/GB", "GB/s");
        tcp.tell("bulk by TLS over TCP", "s/GB", "GB/s");
    });
}
