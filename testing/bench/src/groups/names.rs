//! Queries a second and the CPU time of each, beside authoritative name servers with the same names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::harness::Context;
use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::harness::process;
use crate::harness::rounds::interleave;
use crate::load::dns::burst::{Queries, burst};
use crate::load::dns::{Resolver, dnsperf};
use crate::load::{registrations, runtime};
use crate::report::{Goal, Row, Section};
use crate::subject::portolan::{Home, Portolan, RANGE};
use crate::subject::zone::{self, Kind, NameServer};

const FEW: u64 = 10_000;
const MANY: u64 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contestant {
    Portolan,
    Peer(Kind),
}

impl std::fmt::Display for Contestant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Contestant::Portolan => f.write_str("Portolan"),
            Contestant::Peer(kind) => kind.fmt(f),
        }
    }
}

const CONTESTANTS: [Contestant; 3] =
    [Contestant::Portolan, Contestant::Peer(Kind::Knot), Contestant::Peer(Kind::Nsd)];

/// What one contestant did with one number of names.
#[derive(Default)]
struct Figures {
    rate: Figure,
    cpu_us: Figure,
    dnsperf_cpu_us: Figure,
    tcp_rate: Figure,
    tcp_cpu_us: Figure,
    lost: u64,
}

/// A number of names, on disk for everybody.
struct World {
    names: u64,
    home: Home,
    zone: PathBuf,
    questions: PathBuf,
    queries: Queries,
}

pub(super) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let folder = tempfile::tempdir_in(&context.scratch).context("make a folder for zones")?;
    let sizes = [FEW, context.size(MANY, 20_000)];
    let mut rows = Vec::new();
    let mut lost = [0; CONTESTANTS.len()];
    for names in sizes {
        let world = World::build(context, cores, folder.path(), names)?;
        let mut figures: [Figures; CONTESTANTS.len()] = Default::default();
        interleave(context, &CONTESTANTS, |at, contestant| {
            world.measure(context, cores, *contestant, &mut figures[at])
        })?;
        for (lost, figures) in lost.iter_mut().zip(&figures) {
            *lost += figures.lost;
        }
        rows.extend(lines(names, &figures));
    }
    let said: Vec<String> =
        CONTESTANTS.iter().zip(lost).map(|(who, lost)| format!("{who}: {lost}")).collect();
    Ok(Section {
        group: "dns",
        title: "DNS",
        how: "An A query for a random one of as many services, each with one instance, by UDP over loopback: \
              eight sockets with 64 queries under way each, in batches, from a loader that never sleeps; CPU is \
              that of the server's processes. The name servers have the same names in a zone, one worker for \
              UDP, one for TCP, and no log. Ours answers from the registry with everything at its default. \
              `dnsperf` asks over four sockets with 500 queries under way; its own processor is the limit \
              there, so only the server's CPU is given."
            .to_owned(),
        rows,
        facts: vec![
            format!("Queries that dnsperf got no answer to, all rounds together: {}.", said.join(", ")),
            format!("Beside it: {}, {}.", Kind::Knot.version()?, Kind::Nsd.version()?),
        ],
    })
}

fn lines(names: u64, figures: &[Figures; CONTESTANTS.len()]) -> Vec<Row> {
    let [ours, knot, nsd] = figures;
    let row = |what: &str, unit, of: fn(&Figures) -> &Figure| {
        Row::new(format!("{names} names, {what}"), unit, of(ours).clone()).beside("Knot", of(knot).clone())
    };
    vec![
        row("rate", "/s", |f| &f.rate).goal(Goal::RatioAtLeast(1.2)),
        Row::new(format!("{names} names, rate"), "/s", ours.rate.clone()).beside("NSD", nsd.rate.clone()),
        row("CPU of a query", "µs", |f| &f.cpu_us).goal(Goal::RatioAtMost(0.85)),
        Row::new(format!("{names} names, CPU of a query"), "µs", ours.cpu_us.clone())
            .beside("NSD", nsd.cpu_us.clone()),
        row("CPU of a query, dnsperf", "µs", |f| &f.dnsperf_cpu_us),
        row("by TCP, dnsperf: rate", "/s", |f| &f.tcp_rate).goal(Goal::RatioAtLeast(0.9)),
        row("by TCP, dnsperf: CPU of a query", "µs", |f| &f.tcp_cpu_us).goal(Goal::RatioAtMost(1.1)),
    ]
}

/// Whoever answers, until dropped.
enum Server {
    Portolan(Portolan),
    Peer(NameServer),
}

impl World {
    fn build(context: &Context, cores: &Cores, folder: &Path, names: u64) -> Result<World> {
        let zone = folder.join(format!("{names}.zone"));
        let questions = folder.join(format!("{names}.questions"));
        zone::write(&zone, names)?;
        dnsperf::write_questions(&questions, names, zone::name)?;
        let home = Home::with(&context.scratch, RANGE)?;
        let portolan = home.start(context, cores)?;
        runtime()?.block_on(registrations::fill(portolan.api, names, names, 64))?;
        portolan.stop()?;
        Ok(World { names, home, zone, questions, queries: Queries::draw(names, zone::name) })
    }

    fn start(&self, context: &Context, cores: &Cores, contestant: Contestant) -> Result<Server> {
        match contestant {
            Contestant::Portolan => Ok(Server::Portolan(self.home.start(context, cores)?)),
            Contestant::Peer(kind) => Ok(Server::Peer(kind.start(&context.scratch, &self.zone, cores)?)),
        }
    }

    fn measure(
        &self,
        context: &Context,
        cores: &Cores,
        contestant: Contestant,
        figures: &mut Figures,
    ) -> Result<()> {
        let server = self.start(context, cores, contestant)?;
        let (pid, address) = match &server {
            Server::Portolan(portolan) => (portolan.process.pid(), portolan.dns),
            Server::Peer(peer) => (peer.process.pid(), peer.address),
        };
        let last = zone::name(self.names - 1);
        Resolver::new(address)?.wait_for(&last, Duration::from_secs(60))?;
        let time = context.size(Duration::from_secs(2), Duration::from_secs(1));
        burst(address, &self.queries, time / 4)?;
        let before = process::cpu(pid)?;
        let answered = burst(address, &self.queries, time)?;
        let spent = process::cpu(pid)? - before;
        ensure!(answered.bad == 0, "{contestant} gave {} answers without an address", answered.bad);
        figures.rate.push(answered.good as f64 / time.as_secs_f64());
        figures.cpu_us.push(spent.as_secs_f64() * 1e6 / answered.good as f64);
        for mode in ["udp", "tcp"] {
            let before = process::cpu(pid)?;
            let said = dnsperf::run(address, &self.questions, mode, time)?;
            let each = (process::cpu(pid)? - before).as_secs_f64() * 1e6 / said.completed as f64;
            figures.lost += said.lost;
            match mode {
                "udp" => figures.dnsperf_cpu_us.push(each),
                _ => {
                    figures.tcp_rate.push(said.per_second);
                    figures.tcp_cpu_us.push(each);
                }
            }
        }
        match server {
            Server::Portolan(portolan) => portolan.stop(),
            Server::Peer(_) => Ok(()),
        }
    }
}
