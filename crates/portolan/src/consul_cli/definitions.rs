//! Services and checks that stand in an agent's files: registered when it starts, and again when it reloads.
//! What is not in the files any more is deregistered then.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use client::{Client, Error};
use serde_json::{Map, Value, json};

use super::files;
use crate::config::Config;
use crate::remote::encoded;

/// Between two attempts at what the daemon does not take yet.
const PAUSE: Duration = Duration::from_millis(200);
/// How many attempts: the daemon knows its own node a moment after it listens.
const ATTEMPTS: u32 = 50;
/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A service or a check, as it is registered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Defined {
    what: What,
    id: String,
    body: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Service,
    Check,
}

impl What {
    fn as_str(self) -> &'static str {
        match self {
            What::Service => "service",
            What::Check => "check",
        }
    }
}

/// Where definitions stand.
pub(crate) struct Definitions {
    paths: Vec<PathBuf>,
    format: Option<String>,
    /// Registered whatever stands in the files.
    itself: Defined,
    /// Shown where the daemon asks for one.
    token: Option<String>,
    registered: BTreeSet<(What, String)>,
}

impl Definitions {
    pub(super) fn new(
        paths: Vec<PathBuf>,
        format: Option<String>,
        itself: Defined,
        token: Option<String>,
    ) -> Definitions {
        Definitions { paths, format, itself, token, registered: BTreeSet::new() }
    }

    /// Reads the files and brings the daemon up to date with them. What is wrong is logged: the daemon serves
    /// what else it has.
    pub(crate) async fn register(&mut self, client: &Client) {
        let client = &match &self.token {
            Some(token) => client.clone().with_token(token.as_str()),
            None => client.clone(),
        };
        let defined = files::read(&self.paths, self.format.as_deref()).and_then(|told| in_files(&told));
        let defined = match defined {
            Ok(mut defined) => {
                defined.insert(0, self.itself.clone());
                defined
            }
            Err(cause) => return tracing::error!(error = format!("{cause:#}"), "read service definitions"),
        };
        let named = defined.iter().map(|one| (one.what, one.id.clone())).collect::<BTreeSet<_>>();
        for (what, id) in self.registered.difference(&named) {
            let path = format!("/v1/agent/{}/deregister/{}", what.as_str(), encoded(id));
            if let Err(cause) = client.put_bytes(&path, Vec::new(), PATIENCE).await {
                tracing::error!(what = what.as_str(), id, error = %cause, "deregister what left the files");
            }
        }
        for one in &defined {
            match attempt(client, one).await {
                Ok(()) => tracing::info!(what = one.what.as_str(), id = one.id, "registered from a file"),
                Err(cause) => {
                    let error = format!("{cause:#}");
                    tracing::error!(what = one.what.as_str(), id = one.id, error, "register from a file");
                }
            }
        }
        self.registered = named;
    }
}

async fn attempt(client: &Client, one: &Defined) -> Result<()> {
    let path = format!("/v1/agent/{}/register", one.what.as_str());
    let body = serde_json::to_vec(&one.body).context("write the definition")?;
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match client.put_bytes(&path, body.clone(), PATIENCE).await {
            Ok(_) => return Ok(()),
            Err(Error::Refused { status: 503, .. } | Error::Connect { .. }) if left > 0 => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(cause) => return Err(cause.into()),
        }
    }
}

/// The service `consul`, by which clients of Consul find its servers: this node's API.
pub(super) fn itself(config: &Config) -> Defined {
    let port = config.api.listen.first().map_or(0, std::net::SocketAddr::port);
    let id = "consul".to_owned();
    Defined { what: What::Service, body: json!({ "Name": id, "ID": id, "Port": port }), id }
}

/// Every definition in what files say, with services before checks that may judge them.
///
/// # Errors
/// One without a name.
pub(super) fn in_files(told: &Map<String, Value>) -> Result<Vec<Defined>> {
    let mut defined = Vec::new();
    for (what, keys) in [(What::Service, ["service", "services"]), (What::Check, ["check", "checks"])] {
        for key in keys {
            for value in told.get(key).cloned().map(files::as_list).unwrap_or_default() {
                for body in unlabelled(value) {
                    defined.push(one(what, body).with_context(|| format!("read a definition in `{key}`"))?);
                }
            }
        }
    }
    Ok(defined)
}

/// `service "web" { … }` of HCL is an object in an object under its name.
fn unlabelled(value: Value) -> Vec<Value> {
    match value {
        Value::Object(object) if !object.is_empty() && object.values().all(Value::is_object) => object
            .into_iter()
            .map(|(label, mut body)| {
                if let Some(body) = body.as_object_mut()
                    && field(body, "name").is_none()
                {
                    body.insert("name".into(), label.into());
                }
                body
            })
            .collect(),
        value => vec![value],
    }
}

fn one(what: What, mut body: Value) -> Result<Defined> {
    let object = body.as_object_mut().context("it is no object")?;
    // Two blocks of one name are a list.
    if object.get("check").is_some_and(Value::is_array)
        && let Some(checks) = object.remove("check")
    {
        object.insert("checks".into(), checks);
    }
    let id = field(object, "id").or_else(|| field(object, "checkid")).or_else(|| field(object, "name"));
    let id = id.and_then(Value::as_str).context("it has neither an id nor a name")?.to_owned();
    Ok(Defined { what, id, body })
}

/// A field in any case, with underscores or without.
fn field<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    let is_it = |key: &str| key.replace('_', "").eq_ignore_ascii_case(name);
    object.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value)
}

/// The JSON of definitions in files, for `services register`.
pub(super) fn bodies(told: &Map<String, Value>) -> Result<Vec<(String, Value)>> {
    let services = in_files(told)?.into_iter().filter(|one| one.what == What::Service);
    Ok(services.map(|one| (one.id, one.body)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn definitions_are_found_in_all_their_forms() {
        let told = json!({
            "service": [{ "name": "a" }, { "b": { "port": 1 } }], "services": [{ "ID": "c1", "Name": "c" }],
            "check": { "id": "k", "args": ["true"] }, "checks": [{ "CheckID": "l", "name": "x" }],
        });
        let found = in_files(told.as_object().unwrap()).unwrap();
        let ids: Vec<_> = found.iter().map(|one| (one.what.as_str(), one.id.as_str())).collect();
        assert_eq!(
            ids,
            [("service", "a"), ("service", "b"), ("service", "c1"), ("check", "k"), ("check", "l")]
        );
        let two = one(What::Service, json!({ "name": "a", "check": [{}, {}] })).unwrap();
        assert_eq!(two.body, json!({ "name": "a", "checks": [{}, {}] }));
        assert!(in_files(json!({ "service": { "port": 1 } }).as_object().unwrap()).is_err());
    }
}
