//! What a lookup costs the daemon: one request, one connection made, one descriptor.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::handover::{broker, register, serving};
use crate::groups::relayed::tcp::looped;
use crate::harness::Context;
use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::harness::rounds::interleave;
use crate::load::brokered::{Asker, Program};
use crate::load::{Outcome, Span, closed_loop, runtime};
use crate::report::{Goal, Row};
use crate::subject::ask;

pub(super) const PROGRAMS: usize = 8;
pub(super) const RULES: usize = 1_000;
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Figures {
    rate: Figure,
    of_one_core: Figure,
    p99_ms: Figure,
}

pub(super) fn rows(context: &Context, cores: &Cores) -> Result<Vec<Row>> {
    let mut figures: [Figures; 2] = Default::default();
    interleave(context, &["lookups"], |_, _| {
        let folder = tempfile::tempdir_in(&context.scratch).context("make a folder for sockets")?;
        let (portolan, _home) = serving(context, cores, &folder, &rules())?;
        let mode = ask::status(portolan.api, LIMIT, "PUT", "/v1/portolan/mode/observe", "");
        ensure!(mode == Some(200), "the rules' mode was answered with {mode:?}");
        let unix = UnixListener::bind(folder.path().join("here")).context("listen")?;
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        register(&portolan, "there", tcp.local_addr().context("ask for an address")?)?;
        let socket = broker(&folder);
        let program = Program::at(&socket)?;
        std::thread::spawn(move || unix.incoming().for_each(drop));
        std::thread::spawn(move || tcp.incoming().for_each(drop));
        for (name, figures) in ["here", "there"].into_iter().zip(&mut figures) {
            drop(program.connect(name)?);
            let (mut outcome, cpu_us) = asked(context, portolan.process.pid(), &socket, name)?;
            figures.rate.push(outcome.per_second());
            figures.of_one_core.push(1e6 / cpu_us);
            figures.p99_ms.push(outcome.latencies.percentile_ms(0.99));
        }
        drop(program);
        portolan.stop()
    })?;
    let [here, there] = figures;
    Ok(vec![
        Row::new("lookups of a Unix service: what one core answers", "/s", here.of_one_core)
            .goal(Goal::AtLeast(50_000.0)),
        Row::new("lookups of a Unix service: rate", "/s", here.rate),
        Row::new("lookups of a Unix service: 99 of 100 below", "ms", here.p99_ms).goal(Goal::Below(1.0)),
        Row::new("lookups of a TCP service: what one core answers", "/s", there.of_one_core),
        Row::new("lookups of a TCP service: rate", "/s", there.rate),
        Row::new("lookups of a TCP service: 99 of 100 below", "ms", there.p99_ms).goal(Goal::Below(1.0)),
    ])
}

/// Rules about others, and the one that lets everybody.
fn rules() -> String {
    let mut text = String::new();
    for number in 1..RULES {
        let uid = 100_000 + number;
        let _ = writeln!(text, "[[rules]]\naction = \"deny\"\nsource = \"uid:{uid}\"\nservice = \"any\"");
    }
    text + "[[rules]]\naction = \"allow\"\nsource = \"any\"\nservice = \"any\"\n"
}

/// The lookups, and the daemon's CPU for each, in microseconds.
fn asked(context: &Context, pid: u32, socket: &Path, name: &str) -> Result<(Outcome, f64)> {
    let time = context.size(Duration::from_secs(2), Duration::from_millis(500));
    let span = Span { warmup: time / 4, measured: time };
    looped(pid, |start| {
        runtime()?.block_on(async {
            let programs = (0..PROGRAMS).map(|_| Asker::new(socket, name)).collect::<Result<_>>()?;
            closed_loop(programs, span, start).await
        })
    })
}
