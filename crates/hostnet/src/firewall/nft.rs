//! A chain of ours inside each table of nftables whose input blocks, with one jump at the head of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use catalog::exposure::{Openings, Protocol};
use serde_json::Value;

use super::tool::{self, ToolError};

/// Largest listing that is read, in bytes.
const MAX_LISTING: usize = 16 << 20;
/// Names that are put into a script again are ordinary ones; whoever uses others opens ports himself.
const MAX_NAME: usize = 64;

/// `nft -j list ruleset` that is none.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Larger than anybody's.
    #[error("{0} bytes are too many")]
    Long(usize),
    /// Not JSON.
    #[error("it is not JSON")]
    Json(#[from] serde_json::Error),
    /// JSON of another form.
    #[error("it has no list \"nftables\"")]
    Form,
}

/// A base chain that blocks what comes in, and what of ours is in its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    pub(super) program: PathBuf,
    pub(super) family: String,
    pub(super) table: String,
    /// The base chain.
    pub(super) base: String,
    /// Handle of the jump to our chain, when it is there.
    jump: Option<u64>,
    /// Ports that our chain accepts; `None` when there is no such chain.
    accepts: Option<BTreeMap<Protocol, Vec<u16>>>,
}

/// The base chains that block.
pub(super) async fn look(program: &Path, chain: &str) -> Result<Vec<Hook>, super::FirewallError> {
    let listing = tool::run(program, &["-j", "list", "ruleset"], "").await?;
    let mut hooks = parse(&listing, chain)?;
    hooks.iter_mut().for_each(|hook| hook.program = program.to_owned());
    Ok(hooks)
}

/// Makes every hook's chain accept what is wanted; one transaction for all of them, none when they do.
pub(super) async fn apply(hooks: &[Hook], chain: &str, wanted: &Openings) -> Result<(), ToolError> {
    let ports = by_protocol(wanted);
    let script: String = hooks.iter().map(|hook| hook.replacement(chain, &ports)).collect();
    let Some(first) = hooks.first().filter(|_| !script.is_empty()) else { return Ok(()) };
    let begun = Instant::now();
    tool::run(&first.program, &["-f", "-"], &script).await?;
    let (ports, took_ms) = (wanted.ports.len(), begun.elapsed().as_millis());
    tracing::info!(chain, chains = hooks.len(), ports, took_ms, "replaced our rules in nftables");
    Ok(())
}

/// Removes our jumps and chains.
pub(super) async fn remove(hooks: &[Hook], chain: &str) -> Result<(), ToolError> {
    let script: String = hooks.iter().map(|hook| hook.removal(chain)).collect();
    let Some(first) = hooks.first().filter(|_| !script.is_empty()) else { return Ok(()) };
    tool::run(&first.program, &["-f", "-"], &script).await.map(drop)
}

fn by_protocol(wanted: &Openings) -> BTreeMap<Protocol, Vec<u16>> {
    let mut ports = BTreeMap::<Protocol, Vec<u16>>::new();
    for port in wanted.ports.keys() {
        ports.entry(port.protocol).or_default().push(port.number);
    }
    ports
}

impl Hook {
    fn replacement(&self, chain: &str, ports: &BTreeMap<Protocol, Vec<u16>>) -> String {
        let Hook { family, table, base, .. } = self;
        let mut script = String::new();
        if self.accepts.as_ref() != Some(ports) {
            let _ =
                writeln!(script, "add chain {family} {table} {chain}\nflush chain {family} {table} {chain}");
            for (protocol, numbers) in ports {
                let numbers: Vec<String> = numbers.iter().map(u16::to_string).collect();
                let set = numbers.join(", ");
                let _ =
                    writeln!(script, "add rule {family} {table} {chain} {protocol} dport {{ {set} }} accept");
            }
        }
        if self.jump.is_none() {
            let _ = writeln!(script, "insert rule {family} {table} {base} jump {chain}");
        }
        script
    }

    fn removal(&self, chain: &str) -> String {
        let Hook { family, table, base, .. } = self;
        let jump = self.jump.map(|handle| format!("delete rule {family} {table} {base} handle {handle}\n"));
        let gone = format!("flush chain {family} {table} {chain}\ndelete chain {family} {table} {chain}\n");
        jump.unwrap_or_default() + if self.accepts.is_some() { &gone } else { "" }
    }
}

/// Reads `nft -j list ruleset` (libnftables-json(5)): input chains of type filter that block, in the
/// families that carry IP.
///
/// # Errors
/// [`ParseError`]. Objects that are not understood are passed over.
pub fn parse(listing: &str, chain: &str) -> Result<Vec<Hook>, ParseError> {
    let value = listed(listing)?;
    let objects = objects(&value)?;
    let chains = objects.iter().filter_map(|object| object.get("chain"));
    let rules: Vec<&Value> = objects.iter().filter_map(|object| object.get("rule")).collect();
    Ok(chains.filter_map(|base| hook(base, &rules, objects, chain)).collect())
}

/// The listing as JSON.
pub(super) fn listed(listing: &str) -> Result<Value, ParseError> {
    if listing.len() > MAX_LISTING {
        return Err(ParseError::Long(listing.len()));
    }
    Ok(serde_json::from_str(listing)?)
}

/// What it lists.
pub(super) fn objects(value: &Value) -> Result<&[Value], ParseError> {
    value.get("nftables").and_then(Value::as_array).map(Vec::as_slice).ok_or(ParseError::Form)
}

fn hook(base: &Value, rules: &[&Value], objects: &[Value], chain: &str) -> Option<Hook> {
    let text = |value: &Value, key: &str| value.get(key)?.as_str().map(str::to_owned);
    if text(base, "type")? != "filter" || text(base, "hook")? != "input" {
        return None;
    }
    let (family, table, name) = (text(base, "family")?, text(base, "table")?, text(base, "name")?);
    if !["ip", "ip6", "inet"].contains(&family.as_str()) || !is_plain(&table) || !is_plain(&name) {
        return None;
    }
    let within = |value: &Value, wanted: &str| {
        text(value, "family").as_ref() == Some(&family)
            && text(value, "table").as_ref() == Some(&table)
            && text(value, wanted).is_some()
    };
    let of = |wanted: &str| {
        rules
            .iter()
            .copied()
            .filter(|rule| within(rule, "chain") && text(rule, "chain").as_deref() == Some(wanted))
            .collect::<Vec<_>>()
    };
    let (in_base, in_ours) = (of(&name), of(chain));
    let jump =
        in_base.iter().find(|rule| jumps_to(rule, chain)).and_then(|rule| rule.get("handle")?.as_u64());
    let blocks =
        text(base, "policy").as_deref() == Some("drop") || in_base.iter().any(|rule| refuses_all(rule));
    let exists = objects.iter().filter_map(|object| object.get("chain"));
    let exists = exists
        .into_iter()
        .any(|other| within(other, "name") && text(other, "name").as_deref() == Some(chain));
    // One that no longer blocks keeps our chain until the end, so that removing it stays our business.
    (blocks || exists).then(|| Hook {
        program: PathBuf::new(),
        family: family.clone(),
        table: table.clone(),
        base: name.clone(),
        jump,
        accepts: exists.then(|| accepts(&in_ours)),
    })
}

/// What is found in a listing may go into scripts: no name in it may hold more than a name.
pub(super) fn fuzz(listing: &str) {
    for hook in parse(listing, "OURS").unwrap_or_default() {
        let script = hook.replacement("OURS", &BTreeMap::new()) + &hook.removal("OURS");
        assert!(!script.contains(['{', '}', ';', '"', '#', '$']), "{script:?}");
        assert!(script.lines().count() <= 7, "{script:?}");
    }
}

fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    name.len() <= MAX_NAME && name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(plain)
}

fn statements(rule: &Value) -> &[Value] {
    rule.get("expr").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn jumps_to(rule: &Value, chain: &str) -> bool {
    statements(rule).iter().any(|one| one.pointer("/jump/target").and_then(Value::as_str) == Some(chain))
}

/// A bare `drop` or `reject`: whatever reaches it is lost.
fn refuses_all(rule: &Value) -> bool {
    let mut verdicts = statements(rule).iter().filter(|one| one.get("counter").is_none());
    let is_refusal = |one: &Value| one.get("drop").is_some() || one.get("reject").is_some();
    verdicts.next().is_some_and(is_refusal) && verdicts.next().is_none()
}

/// Ports that rules of the form `tcp dport … accept` name.
fn accepts(rules: &[&Value]) -> BTreeMap<Protocol, Vec<u16>> {
    let mut ports = BTreeMap::<Protocol, Vec<u16>>::new();
    for rule in rules {
        let Some(matched) = statements(rule).iter().find_map(|one| one.get("match")) else { continue };
        let protocol = match matched.pointer("/left/payload/protocol").and_then(Value::as_str) {
            Some("tcp") => Protocol::Tcp,
            Some("udp") => Protocol::Udp,
            _ => continue,
        };
        let Some(right) = matched.get("right") else { continue };
        let listed = right.get("set").and_then(Value::as_array);
        let numbers: Vec<u16> = match listed {
            Some(set) => set.iter().filter_map(number).collect(),
            None => number(right).into_iter().collect(),
        };
        ports.entry(protocol).or_default().extend(numbers);
    }
    ports
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|number| u16::try_from(number).ok())
}
