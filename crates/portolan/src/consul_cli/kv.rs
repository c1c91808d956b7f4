//! `consul kv get|put|delete|export|import`.

use std::io::Read as _;

use anyhow::{Context as _, anyhow};
use consul::kv::{KvPair, Value};
use serde::{Deserialize, Serialize};

use super::flags::Flags;
use super::talk;
use crate::exit::{Exit, Failure, Result};
use crate::remote::{Remote, encoded};

pub(super) fn run(what: &str, arguments: &[&str]) -> Result {
    let values = ["modify-index", "flags", "separator", "session", "prefix"];
    let switches = ["recurse", "keys", "detailed", "cas", "base64", "acquire", "release"];
    let (flags, remote) = talk(arguments, &values, &switches)?;
    crate::command::block_on(async move {
        match what {
            "get" => get(&flags, &remote).await,
            "put" => put(&flags, &remote).await,
            "delete" => delete(&flags, &remote).await,
            "export" => export(&flags, &remote).await,
            _ => import(&flags, &remote).await,
        }
    })
}

/// The key, without the slash that Consul's own command takes off.
fn key(flags: &Flags) -> &str {
    flags.rest.first().map_or("", |key| key.trim_start_matches('/'))
}

async fn get(flags: &Flags, remote: &Remote) -> Result {
    let key = key(flags);
    let path = format!("/v1/kv/{}", encoded(key));
    if flags.is_on("keys") {
        let separator = flags.last("separator").unwrap_or("/");
        let path = format!("{path}?keys&separator={}", encoded(separator).replace('/', "%2F"));
        let names: Vec<String> = none_is_empty(remote.get(&path).await.map(|answer| answer.value))?;
        names.iter().for_each(|name| println!("{name}"));
        return Ok(());
    }
    let is_tree = flags.is_on("recurse");
    let path = if is_tree { format!("{path}?recurse") } else { path };
    let pairs: Vec<KvPair> = none_is_empty(remote.get(&path).await.map(|answer| answer.value))?;
    if pairs.is_empty() && !is_tree {
        return Err(Failure::new(Exit::Failure, anyhow!("Error! No key exists at: {key}")));
    }
    let mut out = std::io::stdout().lock();
    for pair in &pairs {
        show(&mut out, pair, flags, is_tree)?;
    }
    Ok(())
}

fn show(out: &mut impl std::io::Write, pair: &KvPair, flags: &Flags, is_tree: bool) -> Result {
    let value = match flags.is_on("base64") {
        true => serde_json::to_string(&pair.value).map_err(anyhow::Error::from)?.trim_matches('"').into(),
        false => pair.value.0.to_vec(),
    };
    if flags.is_on("detailed") {
        let session = if pair.session.is_empty() { "-" } else { &pair.session };
        for (name, text) in [
            ("CreateIndex", pair.create_index.to_string()),
            ("Flags", pair.flags.to_string()),
            ("Key", pair.key.to_string()),
            ("LockIndex", pair.lock_index.to_string()),
            ("ModifyIndex", pair.modify_index.to_string()),
            ("Session", session.to_owned()),
        ] {
            writeln!(out, "{name:<16} {text}")?;
        }
        write!(out, "{:<16} ", "Value")?;
    } else if is_tree {
        write!(out, "{}:", pair.key)?;
    }
    out.write_all(&value)?;
    Ok(writeln!(out)?)
}

async fn put(flags: &Flags, remote: &Remote) -> Result {
    let key = key(flags);
    if key.is_empty() {
        return Err(Failure::new(Exit::Failure, anyhow!("Missing KEY argument")));
    }
    let value = value(flags.rest.get(1).map(String::as_str))?;
    let value = match flags.is_on("base64") {
        true => {
            let quoted = format!("\"{}\"", String::from_utf8_lossy(&value).trim());
            let Value(bytes) = serde_json::from_str(&quoted).context("read the value as base64")?;
            bytes.to_vec()
        }
        false => value,
    };
    let mut options = vec![format!("flags={}", flags.last("flags").unwrap_or("0"))];
    if flags.is_on("cas") {
        options.push(format!("cas={}", flags.last("modify-index").unwrap_or("0")));
    }
    for (switch, done) in [("acquire", "Lock acquired on"), ("release", "Lock released on")] {
        if flags.is_on(switch) {
            let session = flags.last("session").context("name a session with -session")?;
            options.push(format!("{switch}={session}"));
            write(remote, key, &options, value).await?;
            println!("Success! {done}: {key}");
            return Ok(());
        }
    }
    write(remote, key, &options, value).await?;
    println!("Success! Data written to: {key}");
    Ok(())
}

/// `@file`, `-` for standard input, or the text itself.
fn value(text: Option<&str>) -> Result<Vec<u8>> {
    match text {
        None => Ok(Vec::new()),
        Some("-") => {
            let mut value = Vec::new();
            std::io::stdin().read_to_end(&mut value).context("read the value from standard input")?;
            Ok(value)
        }
        Some(text) => match text.strip_prefix('@') {
            Some(file) => Ok(std::fs::read(file).with_context(|| format!("read {file}"))?),
            None => Ok(text.as_bytes().to_vec()),
        },
    }
}

async fn write(remote: &Remote, key: &str, options: &[String], value: Vec<u8>) -> Result {
    let answer = remote.send(&format!("/v1/kv/{}?{}", encoded(key), options.join("&")), value).await?;
    match answer.trim_ascii() {
        b"true" => Ok(()),
        _ => Err(Failure::new(
            Exit::Failure,
            anyhow!("Error! Did not write to {key}: its index or its lock is not that"),
        )),
    }
}

async fn delete(flags: &Flags, remote: &Remote) -> Result {
    let key = key(flags);
    let option = match (flags.is_on("recurse"), flags.is_on("cas")) {
        (true, _) => "?recurse".to_owned(),
        (_, true) => format!("?cas={}", flags.last("modify-index").unwrap_or("0")),
        _ => String::new(),
    };
    if key.is_empty() && option != "?recurse" {
        return Err(Failure::new(Exit::Failure, anyhow!("Missing KEY argument")));
    }
    remote.bounded(remote.client.delete(&format!("/v1/kv/{}{option}", encoded(key)))).await?;
    let what = if option == "?recurse" { "keys with prefix" } else { "key" };
    println!("Success! Deleted {what}: {key}");
    Ok(())
}

/// One key of an export.
#[derive(Serialize, Deserialize)]
struct Exported {
    key: String,
    #[serde(default)]
    flags: u64,
    value: Value,
}

async fn export(flags: &Flags, remote: &Remote) -> Result {
    let path = format!("/v1/kv/{}?recurse", encoded(key(flags)));
    let pairs: Vec<KvPair> = none_is_empty(remote.get(&path).await.map(|answer| answer.value))?;
    let all = pairs.into_iter();
    let all = all.map(|pair| Exported { key: pair.key.to_string(), flags: pair.flags, value: pair.value });
    let all: Vec<_> = all.collect();
    println!("{}", serde_json::to_string_pretty(&all).map_err(anyhow::Error::from)?);
    Ok(())
}

async fn import(flags: &Flags, remote: &Remote) -> Result {
    let text = value(flags.rest.first().map(String::as_str))?;
    let all: Vec<Exported> = serde_json::from_slice(&text).context("read what is to be imported")?;
    let prefix = flags.last("prefix").unwrap_or_default();
    for one in all {
        let key = format!("{prefix}{}", one.key);
        write(remote, &key, &[format!("flags={}", one.flags)], one.value.0.to_vec()).await?;
        println!("Imported: {key}");
    }
    Ok(())
}

/// Nothing under a key is an empty list.
fn none_is_empty<T: Default>(answer: Result<T>) -> Result<T> {
    match answer {
        Err(failure) if failure.exit == Exit::NotFound => Ok(T::default()),
        other => other,
    }
}
