//! `portolan allow`, `portolan deny` and `portolan rules`: who may reach what.

use anyhow::anyhow;
use consul::rules::{Rule, RuleId, Rules};
use serde::Serialize;

use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};
use crate::output::{Format, Row};
use crate::remote::{Remote, encoded};

/// A rule, in the words of the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Change {
    /// Who: any, uid:NUMBER, node:NAME, host:NAME[:PORT], a network like 10.0.0.0/8, an address, an identity's
    /// name or SPIFFE id
    source: String,
    /// To which service; any for every one
    service: String,
    /// Only by this: tcp, http, udp, unix, tls, ws, quic
    #[arg(long)]
    scheme: Option<String>,
    /// Only connections from other hosts
    #[arg(long = "in", conflicts_with = "outward")]
    inward: bool,
    /// Only connections of this host's own programs
    #[arg(long = "out")]
    outward: bool,
    /// Why, for people
    #[arg(long, default_value = "")]
    note: String,
    /// Ask it before all other rules
    #[arg(long, conflicts_with_all = ["last", "before", "after"])]
    first: bool,
    /// Ask it after all other rules
    #[arg(long, conflicts_with_all = ["before", "after"])]
    last: bool,
    /// Ask it before the rule of this id
    #[arg(long, value_name = "ID", conflicts_with = "after")]
    before: Option<String>,
    /// Ask it after the rule of this id
    #[arg(long, value_name = "ID")]
    after: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// List the rules in the order in which they are asked (also without a word)
    List,
    /// Remove rules
    Remove {
        /// Ids, as the list shows them
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Say how strictly rules are used
    Mode {
        /// open: they are not asked. observe: what they would deny is logged. enforce: what they do not allow is
        /// denied
        #[arg(value_parser = ["open", "observe", "enforce"])]
        mode: String,
    },
}

impl Change {
    fn place(&self) -> String {
        let place = match (self.first, self.last, &self.before, &self.after) {
            (true, ..) => "first".to_owned(),
            (_, true, ..) => "last".to_owned(),
            (.., Some(id), _) => format!("before:{id}"),
            (.., Some(id)) => format!("after:{id}"),
            _ => return String::new(),
        };
        format!("?place={}", encoded(&place))
    }

    fn rule(&self, action: &str) -> Rule {
        let direction = match (self.inward, self.outward) {
            (true, _) => "in",
            (_, true) => "out",
            _ => "",
        };
        Rule {
            action: action.into(),
            source: self.source.as_str().into(),
            service: self.service.as_str().into(),
            scheme: self.scheme.as_deref().unwrap_or_default().into(),
            direction: direction.into(),
            note: self.note.as_str().into(),
            ..Rule::default()
        }
    }
}

/// `portolan allow` and `portolan deny`.
pub(crate) fn change(action: &str, change: Change, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let path = format!("/v1/portolan/rule{}", change.place());
        let kept: RuleId = remote.put(&path, &change.rule(action)).await?;
        let rules = remote.get::<Rules>("/v1/portolan/rules").await?.value;
        let text = || {
            let unused = if rules.mode == "open".into() { UNUSED } else { "" };
            format!("{action} {} to {} is rule {}{unused}", change.source, change.service, kept.id)
        };
        Ok(global.out().one(&kept, text)?)
    })
}

const UNUSED: &str = "\nRules are not asked on an open node; `portolan rules mode enforce` begins";

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(Rule);

impl Row for Shown {
    const COLUMNS: &'static [&'static str] =
        &["action", "source", "service", "only", "hits", "written", "id", "note"];
    fn cells(&self) -> Vec<String> {
        let rule = &self.0;
        let only = [&rule.scheme, &rule.direction].into_iter().filter(|word| !word.is_empty());
        let written = match (&*rule.file, rule.line) {
            ("", _) => String::new(),
            (file, 0) => file.to_owned(),
            (file, line) => format!("{file}:{line}"),
        };
        vec![
            rule.action.to_string(),
            rule.source.to_string(),
            rule.service.to_string(),
            only.map(|word| &**word).collect::<Vec<_>>().join(" "),
            rule.hits.to_string(),
            written,
            rule.id.to_string(),
            rule.note.to_string(),
        ]
    }
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        match args.what.unwrap_or(What::List) {
            What::List => list(&remote, global).await,
            What::Remove { ids } => remove(&remote, &ids, global).await,
            What::Mode { mode } => {
                let path = format!("/v1/portolan/mode/{mode}");
                remote.put::<bool>(&path, &()).await?;
                Ok(global.out().say(&format!("rules are used in mode {mode}"))?)
            }
        }
    })
}

async fn list(remote: &Remote, global: &Global) -> Result {
    let rules = remote.get::<Rules>("/v1/portolan/rules").await?.value;
    if global.output != Format::Table {
        return Ok(global.out().one(&rules, String::new)?);
    }
    let (mode, unmatched) = (rules.mode, rules.unmatched);
    global.out().list(&rules.rules.into_iter().map(Shown).collect::<Vec<_>>())?;
    let rest = match &*mode {
        "open" => "mode open: rules are not asked",
        "observe" => "mode observe: what is not allowed is logged, and passes",
        _ => "mode enforce: what is not allowed is denied",
    };
    Ok(global.out().say(&format!("\n{rest} ({unmatched} matched no rule)"))?)
}

async fn remove(remote: &Remote, ids: &[String], global: &Global) -> Result {
    let mut missing = Vec::new();
    for id in ids {
        match remote.bounded(remote.client.delete(&format!("/v1/portolan/rule/{}", encoded(id)))).await {
            Ok(()) => global.out().say(&format!("removed {id}"))?,
            Err(failure) if failure.exit == Exit::NotFound => missing.push(id.as_str()),
            Err(failure) => return Err(failure),
        }
    }
    let exit = if missing.len() == ids.len() { Exit::NotFound } else { Exit::Partial };
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(exit, anyhow!("there is no rule {}", missing.join(", ")))
            .advise("`portolan rules` lists the ids")),
    }
}
