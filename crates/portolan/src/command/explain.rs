//! `portolan explain A -> B`: what would become of a connection, and why.

use anyhow::anyhow;
use consul::rules::Explanation;

use super::resolve::authority;
use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};
use crate::remote::{Remote, encoded};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// 'WHO -> SERVICE' in quotes, or both without the arrow, or SERVICE alone for a program on this node. WHO is uid:NUMBER,
    /// node:NAME, an address, an identity's name or SPIFFE id. SERVICE may be a name of DNS's, or a URL of the HTTP proxy's:
    /// http://shop.example.com/cart
    #[arg(required = true, num_args = 1..=2)]
    words: Vec<String>,
    /// By what it would come: tcp, http, udp, unix, tls, ws, quic [default: http for a URL, else tcp]
    #[arg(long)]
    scheme: Option<String>,
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let words: Vec<&str> =
        args.words.iter().flat_map(|word| word.split_whitespace()).filter(|word| *word != "->").collect();
    let (source, name) = match words[..] {
        [name] if name != "-" => ("", name),
        [source, name] if name != "-" => (source, name),
        _ => {
            return Err(Failure::new(
                Exit::Usage,
                anyhow!("say WHO -> SERVICE (in quotes: a bare > is the shell's)"),
            ));
        }
    };
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let path = format!(
            "/v1/portolan/explain/{}?source={}&scheme={}",
            encoded(name),
            encoded(source),
            encoded(args.scheme.as_deref().unwrap_or_default())
        );
        let told = remote.get::<Explanation>(&path).await?.value;
        Ok(global.out().one(&told, || text(&told))?)
    })
}

fn text(told: &Explanation) -> String {
    let verdict = if told.allowed { "would be connected" } else { "would not be connected" };
    let mut lines = vec![format!("{} -> {} by {}: {verdict}", told.from, told.name, told.scheme)];
    if !told.way.is_empty() {
        lines.push(format!("  decided by   {}", told.way));
    }
    lines.extend(told.redirections.iter().map(|hop| format!("  redirection  {hop}")));
    if !told.service.is_empty() {
        lines.push(format!("  service      {}", told.service));
    }
    let rule = match (told.rules_allow, &*told.rule) {
        (None, _) => None,
        (Some(true), rule) => Some(format!("{rule} allows it")),
        (Some(false), "") => Some("no rule allows it".to_owned()),
        (Some(false), rule) => Some(format!("{rule} denies it")),
    };
    if told.service.is_empty() && told.redirections.is_empty() {
        lines.push("  service      none of that name".to_owned());
    }
    lines.extend(rule.map(|rule| format!("  rules        {rule} (mode {})", told.mode)));
    if let Some(at) = &told.r#virtual {
        let moved = if at.moved.is_empty() { String::new() } else { format!(" ({})", at.moved) };
        lines.push(format!("  address      {}:{}{moved}", at.address, at.port));
    }
    if !told.dns.is_empty() {
        lines.push(format!("  DNS          {}", told.dns));
    }
    for reached in &told.endpoints {
        let endpoint = &reached.endpoint;
        let (status, path) = (&endpoint.status, &reached.path);
        lines.push(format!(
            "  endpoint     {}  {status}  {} on {}  {path}",
            authority(endpoint),
            endpoint.id,
            endpoint.node
        ));
        if !reached.proves.is_empty() {
            lines.push(format!("  certificate  {}", reached.proves));
        }
    }
    if !told.choice.is_empty() {
        lines.push(format!("  chosen       {}", told.choice));
    }
    lines.extend(
        told.left_out.iter().map(|one| format!("  left out     {} on {}: {}", one.id, one.node, one.why)),
    );
    if !told.why.is_empty() {
        lines.push(format!("  why not      {}", told.why));
    }
    lines.push(format!("  when rules change: {}", told.cut));
    lines.join("\n")
}
