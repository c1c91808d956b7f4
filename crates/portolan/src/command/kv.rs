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
        /// Only if the key's index is this; 0: only if there is no such key
        #[arg(long, value_name = "INDEX")]
        cas: Option<u64>,
    },
    /// Delete a key
    Delete {
        /// Key, or a prefix with --recurse
        key: String,
        /// Delete every key that starts with it
        #[arg(long, short)]
        recurse: bool,
        /// Only if the key's index is this
        #[arg(long, value_name = "INDEX", conflicts_with = "recurse")]
        cas: Option<u64>,
    },
    /// List keys with the sizes of their values
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
            Kv::Put { key, value, cas } => put(&remote, &key, value, cas, global).await,
            Kv::Delete { key, recurse, cas } => delete(&remote, &key, recurse, cas, global).await,
            Kv::List { prefix, watch } => {
                let path = format!("/v1/kv/{}?recurse", encoded(&prefix));
                let rows = |pairs: Vec<KvPair>| pairs.into_iter().map(Key).collect();
                listing::show(&remote, global, &path, watch, rows).await
            }
        }
    })
}

async fn get(remote: &Remote, key: &str, global: &Global) -> Result {
    let missing = || Failure::new(Exit::NotFound, anyhow!("there is no key \"{key}\""));
    let answer = remote.get::<Vec<KvPair>>(&format!("/v1/kv/{}", encoded(key))).await;
    let pairs = answer.map_err(|failure| if failure.exit == Exit::NotFound { missing() } else { failure })?;
    let pair = pairs.value.into_iter().next().ok_or_else(missing)?;
    if global.output != Format::Table {
        return Ok(global.out().one(&pair, String::new)?);
    }
    let mut out = std::io::stdout().lock();
    out.write_all(&pair.value.0)?;
    // Exactly the value for programs; a line of its own for people.
    if out.is_terminal() && !pair.value.0.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

async fn put(remote: &Remote, key: &str, value: Option<String>, cas: Option<u64>, global: &Global) -> Result {
    let value = value.map_or_else(from_stdin, |value| Ok(value.into_bytes()))?;
    let kv = remote.client.kv();
    match cas {
        Some(index) => held(remote.bounded(kv.put_if(key, index, value)).await?, key)?,
        None => remote.bounded(kv.put(key, value)).await?,
    }
    Ok(global.out().say(&format!("set {key}"))?)
}

fn from_stdin() -> Result<Vec<u8>> {
    let mut value = Vec::new();
    std::io::stdin().read_to_end(&mut value).context("read the value from standard input")?;
    Ok(value)
}

async fn delete(remote: &Remote, key: &str, recurse: bool, cas: Option<u64>, global: &Global) -> Result {
    let kv = remote.client.kv();
    match (recurse, cas) {
        (true, _) => remote.bounded(kv.delete_all(key)).await?,
        (false, Some(index)) => held(remote.bounded(kv.delete_if(key, index)).await?, key)?,
        (false, None) => remote.bounded(kv.delete(key)).await?,
    }
    let what = if recurse { format!("every key under {key}") } else { key.to_owned() };
    Ok(global.out().say(&format!("deleted {what}"))?)
}

fn held(held: bool, key: &str) -> Result {
    match held {
        true => Ok(()),
        false => {
            let cause =
                anyhow!("the index of \"{key}\" is not the one given with --cas: nothing was changed");
            Err(cause.into())
        }
    }
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
