//! The CPU of a gigabyte through TLS that a program does not have to speak.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::harness::rounds::interleave;
use crate::harness::{Context, process};
use crate::load::brokered::{Program, bulk};
use crate::load::streams::Backends;
use crate::report::{Goal, Row};
use crate::subject::secured::{Kind, Secured, Server};

const CONTESTANTS: [Kind; 2] = [Kind::Portolan, Kind::Haproxy];

pub(super) fn rows(context: &Context, cores: &Cores, backends: &Backends) -> Result<Vec<Row>> {
    let server = Server::start(context, backends.sink)?;
    let [mut rates, mut costs]: [[Figure; 2]; 2] = Default::default();
    interleave(context, &CONTESTANTS, |at, kind| {
        let secured = kind.start(context, cores, &server)?;
        let time = context.size(Duration::from_secs(3), Duration::from_millis(500));
        let mut stream = connect(&secured, &server)?;
        bulk(&mut stream, time / 4)?;
        let before = backends.taken();
        let (_, cpu_us) = process::cpu_us(secured.pid(), || bulk(&mut stream, time))?;
        // What was written and is still under way was paid for in part; so was what had been before.
        let bytes = (backends.taken() - before) as f64;
        rates[at].push(bytes * 8e-9 / time.as_secs_f64());
        costs[at].push(cpu_us / 1e3 / (bytes / 1e9));
        drop(stream);
        secured.stop()
    })?;
    let row =
        |what: &str, unit, [ours, peer]: [Figure; 2]| Row::new(what, unit, ours).beside("HAProxy", peer);
    Ok(vec![
        row("tls route: CPU of a GB", "ms", costs).goal(Goal::RatioAtMost(1.2)),
        row("tls route: rate", "Gbit/s", rates),
    ])
}

fn connect(secured: &Secured, server: &Server) -> Result<Box<dyn Write>> {
    match (secured.broker(), secured.listener()) {
        (Some(broker), _) => {
            let name = format!("tls://{}", server.address);
            Ok(Box::new(UnixStream::from(Program::at(&broker)?.connect(&name)?)))
        }
        (None, listener) => {
            let listener = listener.context("nobody listens")?;
            Ok(Box::new(TcpStream::connect(listener).context("connect to HAProxy")?))
        }
    }
}
