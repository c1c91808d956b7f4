//! `consul services register|deregister`.

use std::path::PathBuf;

use anyhow::anyhow;
use serde_json::{Map, Value, json};

use super::definitions::bodies;
use super::files;
use super::flags::Flags;
use super::talk;
use crate::exit::{Exit, Failure, Result};
use crate::remote::encoded;

const VALUES: &[&str] = &["address", "id", "kind", "meta", "name", "port", "tag", "tagged-address", "socket"];

pub(super) fn register(arguments: &[&str]) -> Result {
    let (flags, remote) = talk(arguments, VALUES, &[])?;
    let services = services(&flags)?;
    crate::command::block_on(async move {
        for (id, body) in services {
            let body = serde_json::to_vec(&body).map_err(anyhow::Error::from)?;
            remote.send("/v1/agent/service/register", body).await?;
            println!("Registered service: {id}");
        }
        Ok(())
    })
}

pub(super) fn deregister(arguments: &[&str]) -> Result {
    let (flags, remote) = talk(arguments, VALUES, &[])?;
    let ids: Vec<String> = match flags.last("id") {
        Some(id) => vec![id.to_owned()],
        None => services(&flags)?.into_iter().map(|(id, _)| id).collect(),
    };
    crate::command::block_on(async move {
        for id in ids {
            remote.send(&format!("/v1/agent/service/deregister/{}", encoded(&id)), Vec::new()).await?;
            println!("Deregistered service: {id}");
        }
        Ok(())
    })
}

/// What the files define, else the one that the flags do.
fn services(flags: &Flags) -> Result<Vec<(String, Value)>> {
    let usage = |cause| Failure::new(Exit::Usage, cause);
    if !flags.rest.is_empty() {
        let paths: Vec<PathBuf> = flags.rest.iter().map(PathBuf::from).collect();
        return files::read(&paths, None).and_then(|told| bodies(&told)).map_err(usage);
    }
    let name = flags.last("name").ok_or_else(|| usage(anyhow!("name a file, or the service with -name")))?;
    let mut body = Map::from_iter([("Name".to_owned(), json!(name))]);
    for (flag, field) in [("id", "ID"), ("address", "Address")] {
        body.extend(flags.last(flag).map(|value| (field.to_owned(), json!(value))));
    }
    if let Some(port) = flags.last("port") {
        let port: u16 = port.parse().map_err(|_| usage(anyhow!("-port={port} is no port")))?;
        body.insert("Port".into(), json!(port));
    }
    body.insert("Tags".into(), flags.all("tag").collect());
    let meta = flags.all("meta").filter_map(|pair| pair.split_once('='));
    body.insert("Meta".into(), meta.map(|(name, value)| (name.to_owned(), json!(value))).collect());
    let id = flags.last("id").unwrap_or(name);
    Ok(vec![(id.to_owned(), Value::Object(body))])
}
