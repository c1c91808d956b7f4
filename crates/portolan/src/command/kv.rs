//! `portolan kv get|put|delete|list`

use std::io::{IsTerminal as _, Read as _, Write as _};

use anyhow::{Context as _, anyhow};
use consul::kv::KvPair;
use serde::Serialize;

use super::listing::{self, Watch};
use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};
use crate::output::{Format, Row};
use crate::remote::{Remote, encoded};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Kv {
    /// Print the value of a key
    Get {
        /// Key
        key: String,
    },
    /// Set a key
    Put {
        /// Key
        key: String,
        /// Value; read from standard input when absent
        value: Option<String>,
        /// Only if the key's modify index is this; 0: only if there is no such key
        #[arg(long, value_name = "INDEX")]
        cas: Option<u64>,
        /// Opaque number kept beside the value
        #[arg(long, default_value_t = 0)]
        flags: u64,
    },
    /// Delete a key
    Delete {
        /// Key, or a prefix with --recurse
        key: String,
        /// Delete every key that starts with it
        #[arg(long, short)]
        recurse: bool,
        /// Only if the key's modify index is this
        #[arg(long, value_name = "INDEX", conflicts_with = "recurse")]
        cas: Option<u64>,
    },
    /// List keys with their values' sizes
    List {
        /// Only keys that start with this
        #[arg(default_value = "")]
        prefix: String,
        #[command(flatten)]
        watch: Watch,
    },
}

pub(crate) fn run(kv: Kv, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        match kv {
            Kv::Get { key } => get(&remote, &key, global).await,
            Kv::Put { key, value, cas, flags } => put(&remote, &key, value, cas, flags, global).await,
            Kv::Delete { key, recurse, cas } => delete(&remote, &key, recurse, cas, global).await,
            Kv::List { prefix, watch } => {
                let path = format!("/v1/kv/{}?recurse", encoded(&prefix));
                listing::show_or_empty(&remote, global, &path, watch, |pairs: Vec<KvPair>| {
                    pairs.into_iter().map(Key).collect()
                })
                .await
            }
        }
    })
}

async fn get(remote: &Remote, key: &str, global: &Global) -> Result {
    let answer = remote.get(&format!("/v1/kv/{}", encoded(key))).await;
    let answer = answer.map_err(|failure| match failure.exit {
        Exit::NotFound => Failure::new(Exit::NotFound, anyhow!("there is no key \"{key}\"")),
        _ => failure,
    })?;
    let pairs: Vec<KvPair> = answer.json()?;
    let pair = pairs.first().ok_or_else(|| anyhow!("the daemon answered without a key"))?;
    if global.output != Format::Table {
        global.out().one(pair, String::new)?;
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    out.write_all(&pair.value.0)?;
    // Exactly the value for programs; a line of its own for people.
    if out.is_terminal() && !pair.value.0.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

async fn put(
    remote: &Remote,
    key: &str,
    value: Option<String>,
    cas: Option<u64>,
    flags: u64,
    global: &Global,
) -> Result {
    let value = match value {
        Some(value) => value.into_bytes(),
        None => {
            let mut value = Vec::new();
            std::io::stdin().read_to_end(&mut value).context("read the value from standard input")?;
            value
        }
    };
    let cas = cas.map_or(String::new(), |index| format!("&cas={index}"));
    let answer = remote.put(&format!("/v1/kv/{}?flags={flags}{cas}", encoded(key)), value).await?;
    held(&answer.body, key)?;
    global.out().say(&format!("set {key}"))?;
    Ok(())
}

async fn delete(remote: &Remote, key: &str, recurse: bool, cas: Option<u64>, global: &Global) -> Result {
    let query = match (recurse, cas) {
        (true, _) => "?recurse".to_owned(),
        (false, Some(index)) => format!("?cas={index}"),
        (false, None) => String::new(),
    };
    let answer = remote.delete(&format!("/v1/kv/{}{query}", encoded(key))).await?;
    held(&answer.body, key)?;
    global.out().say(&format!("deleted {key}{}", if recurse { "*" } else { "" }))?;
    Ok(())
}

/// Consul answers `false` when a compare-and-set did not hold.
fn held(answer: &[u8], key: &str) -> Result {
    if answer.trim_ascii() == b"false" {
        let cause = anyhow!("the index of \"{key}\" is not the one given with --cas: nothing was changed");
        return Err(cause.into());
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(transparent)]
struct Key(KvPair);

impl Row for Key {
    const COLUMNS: &'static [&'static str] = &["key", "bytes", "flags", "index"];
    fn cells(&self) -> Vec<String> {
        let pair = &self.0;
        vec![
            pair.key.to_string(),
            pair.value.0.len().to_string(),
            pair.flags.to_string(),
            pair.modify_index.to_string(),
        ]
    }
}
