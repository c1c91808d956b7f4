//! CPU time of each datagram.

use std::time::Duration;

use anyhow::Result;

use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::harness::rounds::interleave;
use crate::harness::{Context, process};
use crate::load::datagrams;
use crate::report::{Goal, Row, Section};
use crate::subject::relay::{Kind, Protocol};

const CONTESTANTS: [Kind; 2] = [Kind::Portolan, Kind::Nginx];

pub(crate) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let server = datagrams::mirror()?;
    let time = context.size(Duration::from_secs(2), Duration::from_millis(500));
    let [mut rates, mut costs, mut lost]: [[Figure; 2]; 3] = Default::default();
    interleave(context, &CONTESTANTS, |at, kind| {
        let relay = kind.start(context, cores, Protocol::Udp, &[server])?;
        let listener = relay.listeners[0];
        // The first try may come before the peer listens, or before we know the service.
        let begin = std::time::Instant::now();
        while datagrams::through(listener, time / 4).is_err() && begin.elapsed() < Duration::from_secs(10) {}
        let (returned, cpu_us) = process::cpu_us(relay.pid, || datagrams::through(listener, time))?;
        rates[at].push(returned.round_trips as f64 / time.as_secs_f64());
        costs[at].push(cpu_us / (2 * returned.round_trips) as f64);
        lost[at].push(returned.lost as f64 * 1e6 / (returned.lost + returned.round_trips) as f64);
        relay.stop()
    })?;
    let name = Kind::Nginx.name();
    let row = |what: &str, unit, [ours, peer]: [Figure; 2]| Row::new(what, unit, ours).beside(name, peer);
    Ok(Section {
        group: "udp",
        title: "UDP relay",
        how: "Sixteen clients with up to 32 datagrams of 64 bytes under way each, through one listener to a server \
              that sends them back. A round trip is two packets in and two out; CPU is that of the relay, for each \
              packet that it received."
            .to_owned(),
        rows: vec![
            row("round trips", "/s", rates),
            row("CPU of a packet", "µs", costs).goal(Goal::RatioAtMost(1.0)),
            row("lost, of a million", "", lost),
        ],
        facts: vec![format!("Beside it: {}, one worker.", Kind::Nginx.version()?)],
    })
}
