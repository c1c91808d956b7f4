//! `portolan exposures` and `plan`: what is reachable from outside, link by link, and what is still to be done.

use std::fmt::Write as _;

use consul::exposure::{Chain, Exposures, Link};
use serde::Serialize;

use crate::cli::Global;
use crate::exit::Result;
use crate::output::Row;
use crate::remote::Remote;

const PATH: &str = "/v1/portolan/exposures";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this service
    service: Option<String>,
}

pub(crate) fn exposures(args: Args, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let shown = ask(&remote, &args).await?;
        Ok(global.out().one(&shown, || text(&shown))?)
    })
}

async fn ask(remote: &Remote, args: &Args) -> Result<Exposures> {
    let mut shown = remote.get::<Exposures>(PATH).await?.value;
    if let Some(service) = &args.service {
        shown.chains.retain(|chain| *chain.service == **service);
    }
    Ok(shown)
}

fn text(shown: &Exposures) -> String {
    let mut text = String::new();
    if !shown.enabled {
        let _ = writeln!(text, "node {} carries nothing out: set [exposure] enabled = true", shown.node);
    }
    if shown.chains.is_empty() {
        let _ = writeln!(text, "nothing is wished: `portolan expose SERVICE --port 443:8443/tcp`");
    }
    shown.chains.iter().for_each(|chain| add_chain(&mut text, chain));
    let public = &shown.public_address;
    if !public.is_empty() {
        let _ = writeln!(text, "public address: {public}");
    }
    for conflict in &shown.conflicts {
        let _ = writeln!(text, "conflict: {conflict}");
    }
    for one in &shown.complaints {
        let (service, tag, column, why) = (&one.service, &one.tag, one.column, &one.why);
        let _ = writeln!(text, "cannot be read: service \"{service}\", \"{tag}\", column {column}: {why}");
    }
    if !shown.trouble.is_empty() {
        let _ = writeln!(text, "a source is not heard, its last wishes are held: {}", shown.trouble);
    }
    text.trim_end().to_owned()
}

fn add_chain(text: &mut String, chain: &Chain) {
    let Chain { service, port, internal, state, url, links } = chain;
    let inside = if *internal == 0 { String::new() } else { format!(" -> {internal}") };
    let _ = writeln!(text, "{}", format!("{service} {port}{inside}: {state} {url}").trim_end());
    for Link { link, state, detail } in links {
        let _ = writeln!(text, "{}", format!("  {link:<12} {state:<8} {detail}").trim_end());
    }
}

/// A link that does not hold, and what is done about it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Step {
    service: String,
    port: String,
    step: &'static str,
    state: String,
    detail: String,
}

impl Row for Step {
    const COLUMNS: &'static [&'static str] = &["service", "port", "step", "state", "detail"];
    fn cells(&self) -> Vec<String> {
        let Step { service, port, step, state, detail } = self;
        vec![service.clone(), port.clone(), (*step).to_owned(), state.clone(), detail.clone()]
    }
}

pub(crate) fn plan(args: Args, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let shown = ask(&remote, &args).await?;
        let steps: Vec<Step> = shown.chains.iter().flat_map(steps).collect();
        if steps.is_empty() {
            global.out().say("nothing is to be done: everything is as it is wished")?;
            if global.output == crate::output::Format::Table {
                return Ok(());
            }
        }
        Ok(global.out().list(&steps)?)
    })
}

fn steps(chain: &Chain) -> impl Iterator<Item = Step> {
    let to_do = chain.links.iter().filter(|link| !matches!(&*link.state, "holds" | "none"));
    to_do.map(|link| Step {
        service: chain.service.to_string(),
        port: chain.port.to_string(),
        step: step(&link.link),
        state: link.state.to_string(),
        detail: link.detail.to_string(),
    })
}

fn step(link: &str) -> &'static str {
    match link {
        "service" => "find an instance",
        "health" => "wait for health",
        "answer" => "reach the service",
        "firewall" => "open the firewall",
        "mapping" => "map at the router",
        "pinhole" => "open a pinhole",
        "dns" => "show the name",
        "inside" => "answer inside",
        "certificate" => "get a certificate",
        "outside" => "look from outside",
        _ => "go on",
    }
}
