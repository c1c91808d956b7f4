//! CPU time of a request through an HTTP proxy, beside the proxies that people would take instead.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::harness::rounds::interleave;
use crate::harness::{Context, process};
use crate::report::{Goal, Row, Section};
use crate::subject::web::{Kind, LARGE, Server, Web};

const CONTESTANTS: [Kind; 3] = [Kind::Portolan, Kind::Haproxy, Kind::Nginx];
const CLIENTS: usize = 64;
/// What the proxies lead by.
const HOST: &str = "web";
/// For HTTP/2: so many connections with so many requests under way each.
const CONNECTIONS: usize = 8;
const STREAMS: usize = 16;

#[derive(Default)]
struct Figures {
    rate: Figure,
    cpu_us: Figure,
    p99_ms: Figure,
}

#[derive(Default)]
struct Cases {
    small: Figures,
    large: Figures,
    /// HTTP/2 in, HTTP/1.1 out.
    two: Figures,
    /// HTTP/2 on both sides.
    both: Figures,
    tls: Figures,
    /// A thread for each processor.
    threads: Figures,
}

pub(super) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let server = Server::start(context)?;
    let mut cases: [Cases; CONTESTANTS.len()] = Default::default();
    interleave(context, &CONTESTANTS, |at, kind| measure(context, cores, *kind, &server, &mut cases[at]))?;
    Ok(Section {
        group: "http",
        title: "HTTP proxy",
        how: format!(
            "One listener to one server (nginx), over loopback, connections kept on both sides, `X-Forwarded-For` \
             written. HTTP/1.1: wrk with {CLIENTS} connections, answers of 12 bytes and of 10 KB, and the small ones by \
             TLS. HTTP/2: h2load with {CONNECTIONS} connections of {STREAMS} requests each; nginx of Debian needs a TLS \
             listener for that and speaks no HTTP/2 to servers, so it is left out. CPU is that of the proxy. How long 99 of 100 \
             took is measured apart, while the loops stand still. Two threads share their processors with server and loader."
        ),
        rows: rows(&cases),
        facts: vec![format!(
            "Beside it: {} (`http-reuse always`), {} (`keepalive 512`, no access log); one thread each where nothing else \
             is said.",
            Kind::Haproxy.version()?,
            Kind::Nginx.version()?
        )],
    })
}

fn rows(cases: &[Cases; CONTESTANTS.len()]) -> Vec<Row> {
    let row = |what: &str, unit, peer: usize, of: fn(&Cases) -> &Figure| {
        Row::new(what, unit, of(&cases[0]).clone()).beside(CONTESTANTS[peer].name(), of(&cases[peer]).clone())
    };
    let most = Goal::RatioAtMost;
    vec![
        row("small: CPU of a request", "µs", 1, |c| &c.small.cpu_us).goal(most(1.1)),
        row("small: CPU of a request", "µs", 2, |c| &c.small.cpu_us).goal(most(1.0)),
        row("small: rate", "/s", 1, |c| &c.small.rate),
        row("small: 99 of 100 below", "ms", 1, |c| &c.small.p99_ms).goal(most(1.1)),
        row("10 KB: CPU of a request", "µs", 1, |c| &c.large.cpu_us).goal(most(1.15)),
        row("10 KB: CPU of a request", "µs", 2, |c| &c.large.cpu_us).goal(most(1.0)),
        row("10 KB: rate", "/s", 1, |c| &c.large.rate),
        row("10 KB: 99 of 100 below", "ms", 1, |c| &c.large.p99_ms).goal(most(1.1)),
        row("HTTP/2 in: CPU of a request", "µs", 1, |c| &c.two.cpu_us).goal(most(1.3)),
        row("HTTP/2 in: rate", "/s", 1, |c| &c.two.rate),
        row("HTTP/2 in and out: CPU of a request", "µs", 1, |c| &c.both.cpu_us).goal(most(1.15)),
        row("HTTP/2 in and out: rate", "/s", 1, |c| &c.both.rate),
        row("small, by TLS: CPU of a request", "µs", 1, |c| &c.tls.cpu_us).goal(most(1.15)),
        row("small, by TLS: CPU of a request", "µs", 2, |c| &c.tls.cpu_us).goal(most(1.0)),
        row("small, by TLS: rate", "/s", 1, |c| &c.tls.rate),
        row("small, two threads: rate", "/s", 1, |c| &c.threads.rate).goal(Goal::RatioAtLeast(0.97)),
        row("small, two threads: CPU of a request", "µs", 1, |c| &c.threads.cpu_us),
    ]
}

fn measure(context: &Context, cores: &Cores, kind: Kind, server: &Server, cases: &mut Cases) -> Result<()> {
    let web = kind.start(context, cores, server, 1)?;
    let time = context.size(Duration::from_secs(3), Duration::from_secs(1));
    let plain = format!("http://{}", web.listener);
    by_wrk(context, &web, &format!("{plain}/"), time, &mut cases.small)?;
    by_wrk(context, &web, &format!("{plain}{LARGE}"), time, &mut cases.large)?;
    by_wrk(context, &web, &format!("https://{}/", web.secure), time, &mut cases.tls)?;
    if kind != Kind::Nginx {
        by_h2load(&web, "web", time, &mut cases.two)?;
        by_h2load(&web, "two", time, &mut cases.both)?;
    }
    web.stop()?;
    let together = cores.together();
    if kind == Kind::Nginx || together.for_servers() < 2 {
        return Ok(());
    }
    let web = kind.start(context, &together, server, 2)?;
    by_wrk(context, &web, &format!("http://{}/", web.listener), time, &mut cases.threads)?;
    web.stop()
}

/// One round, after a second that does not count.
fn by_wrk(context: &Context, web: &Web, url: &str, time: Duration, figures: &mut Figures) -> Result<()> {
    wrk(url, HOST, Duration::from_secs(1))?;
    let (load, cpu_us) = process::cpu_us(web.pid, || wrk(url, HOST, time))?;
    figures.rate.push(load.requests / time.as_secs_f64());
    figures.cpu_us.push(cpu_us / load.requests);
    figures.p99_ms.push(context.awake.halting(|| wrk(url, HOST, time))?.p99_ms);
    Ok(())
}

/// The same by HTTP/2, for this host.
fn by_h2load(web: &Web, host: &str, time: Duration, figures: &mut Figures) -> Result<()> {
    let url = format!("http://{}/", web.listener);
    h2load(&url, host, Duration::from_secs(1))?;
    let (requests, cpu_us) = process::cpu_us(web.pid, || h2load(&url, host, time))?;
    figures.rate.push(requests / time.as_secs_f64());
    figures.cpu_us.push(cpu_us / requests);
    Ok(())
}

pub(super) struct Load {
    pub(super) requests: f64,
    p99_ms: f64,
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let program = peers::tool(program).map_err(|missing| anyhow!("{missing}"))?;
    let output = Command::new(&program).args(arguments).output().context("run a load generator")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{}: {said}{}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said)
}

pub(super) fn wrk(url: &str, host: &str, time: Duration) -> Result<Load> {
    let (clients, time) = (format!("-c{CLIENTS}"), format!("-d{}s", time.as_secs()));
    let host = format!("Host: {host}");
    let said = output("wrk", &["-t1", &clients, &time, "--latency", "-H", &host, url])?;
    ensure!(!said.contains("Non-2xx") && !said.contains("Socket errors"), "requests failed: {said}");
    parse_wrk(&said).with_context(|| format!("understand wrk: {said}"))
}

fn parse_wrk(said: &str) -> Option<Load> {
    let requests = said.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())?;
    let p99 = said.lines().find_map(|line| line.trim().strip_prefix("99%"))?.trim();
    let unit = p99.find(|letter: char| letter.is_ascii_alphabetic())?;
    let scale = match &p99[unit..] {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        _ => return None,
    };
    Some(Load { requests, p99_ms: p99[..unit].parse::<f64>().ok()? * scale })
}

fn h2load(url: &str, host: &str, time: Duration) -> Result<f64> {
    let (connections, streams, time) =
        (CONNECTIONS.to_string(), STREAMS.to_string(), time.as_secs().to_string());
    let authority = format!(":authority: {host}");
    let arguments = ["-c", &connections, "-m", &streams, "-t", "1", "-D", &time, "-H", &authority, url];
    let said = output("h2load", &arguments)?;
    parse_h2load(&said).with_context(|| format!("understand h2load, or requests failed: {said}"))
}

/// Requests that succeeded; none when one failed.
fn parse_h2load(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.starts_with("requests:"))?;
    let of = |what: &str| -> Option<f64> {
        line.split(", ").find_map(|part| part.strip_suffix(what)?.split_whitespace().last()?.parse().ok())
    };
    (of(" failed")? == 0.0).then(|| of(" succeeded"))?
}

#[cfg(test)]
mod tests {
    use super::{parse_h2load, parse_wrk};

    #[test]
    fn load_generators_are_understood() {
        let said = "  Latency Distribution\n     50%    1.10ms\n     99%  987.00us\n  5000 requests in 1.00s, 1MB read\n";
        let load = parse_wrk(said).unwrap();
        assert_eq!((load.requests, load.p99_ms), (5000.0, 0.987));
        let line = |failed| {
            format!(
                "requests: 90 total, 90 started, 90 done, 90 succeeded, {failed} failed, 0 errored, 0 timeout\n"
            )
        };
        assert_eq!(parse_h2load(&line(0)), Some(90.0));
        assert_eq!(parse_h2load(&line(1)), None);
    }
}
