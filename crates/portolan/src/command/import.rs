//! `portolan import consul URL`: what a running Consul knows, taken over once, or followed until the day of the switch.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use client::{Client, Error};
use consul::Text;
use consul::kv::KvPair;
use consul::listing::{CatalogNode, HealthCheck, Node, NodeService};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};
use crate::remote::{Remote, encoded};
use crate::secret;

mod policies;

/// Label of nodes that were imported: whoever sees it knows that another registry decides on them.
const MARK: &str = "imported-from";
/// Consul's entry for its own servers, which have nothing to say here.
const OWN_SERVICE: &str = "consul";
/// Longest wait for one answer of Consul's.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Import {
    /// Take over nodes, services, checks, keys and policies of a Consul
    Consul(Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Consul's API, like http://127.0.0.1:8500
    url: String,
    /// File with a token for it; else the one in IMPORT_CONSUL_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Follow it until stopped: what changes there changes here, and what goes there goes here
    #[arg(long)]
    mirror: bool,
    /// With --mirror: how often to look
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = state::units::parse_duration)]
    every: Duration,
    /// Leave keys out
    #[arg(long)]
    no_keys: bool,
    /// Leave nodes, services and checks out
    #[arg(long)]
    no_services: bool,
    /// Leave policies of access control lists out
    #[arg(long)]
    no_policies: bool,
}

pub(crate) fn run(Import::Consul(args): Import, global: &Global) -> Result {
    let usage = |cause: Error| Failure::new(Exit::Usage, cause);
    let from = Client::new(args.url.parse().map_err(usage)?);
    let token = secret::read(args.token_file.as_deref(), "IMPORT_CONSUL_TOKEN");
    let from = match token.map_err(|cause| Failure::new(Exit::Usage, cause))? {
        Some(token) => from.with_token(&token),
        None => from,
    };
    let to = Remote::new(global)?;
    if from.address() == to.client.address() {
        return Err(Failure::new(Exit::Usage, anyhow::anyhow!("{} is the daemon to import into", args.url)));
    }
    super::block_on(async move {
        let mut followed = Followed::default();
        loop {
            let pass = Pass { from: &from, to: &to, args: &args };
            match pass.run(&mut followed).await {
                Ok(done) => {
                    done.notes.iter().filter(|note| followed.noted.insert((*note).clone())).for_each(
                        |note| {
                            eprintln!("{note}");
                        },
                    );
                    global.out().say(&done.to_string())?;
                }
                // What was imported stays while Consul is away: not to be heard is not to be empty.
                Err(failure) if args.mirror && followed.has_begun => {
                    eprintln!("{}", failure.render(global.out().colored_errors()));
                }
                Err(failure) => return Err(failure),
            }
            if !args.mirror {
                return Ok(());
            }
            tokio::time::sleep(args.every).await;
        }
    })
}

/// What went wrong there, in words that do not take it for this daemon.
fn of_consul(error: Error) -> Failure {
    if let Error::Connect { address, cause } = error {
        let cause = anyhow::Error::new(cause).context(format!("connect to Consul at {address}"));
        return Failure::new(Exit::Unreachable, cause)
            .advise("name its HTTP API, like http://127.0.0.1:8500");
    }
    let failure = Failure::from(error);
    match failure.exit {
        Exit::Denied if !policies::is_off(&failure) => failure.advise(
            "set IMPORT_CONSUL_TOKEN, or --token-file, to a token of that Consul which may read all of it",
        ),
        _ => failure,
    }
}

/// What the pass before brought, so that the next takes away what is gone.
#[derive(Debug, Default)]
struct Followed {
    has_begun: bool,
    nodes: BTreeMap<String, BTreeSet<String>>,
    keys: BTreeMap<String, (u64, bytes::Bytes)>,
    policies: BTreeMap<Text, policies::Told>,
    /// What was said once already.
    noted: BTreeSet<String>,
}

/// What a pass did.
#[derive(Debug, Default)]
struct Done {
    nodes: usize,
    services: usize,
    keys: usize,
    policies: usize,
    gone: usize,
    /// What stays behind, and why.
    notes: Vec<String>,
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Done { nodes, services, keys, policies, gone, .. } = self;
        write!(
            f,
            "{nodes} nodes and {services} instances are here, {keys} keys and {policies} policies were set, {gone} \
             things taken away"
        )
    }
}

struct Pass<'p> {
    from: &'p Client,
    to: &'p Remote,
    args: &'p Args,
}

impl Pass<'_> {
    async fn run(&self, followed: &mut Followed) -> Result<Done> {
        let mut done = Done::default();
        if !self.args.no_services {
            let nodes = self.nodes(&mut done).await?;
            if followed.has_begun {
                self.take_away(&followed.nodes, &nodes, &mut done).await?;
            }
            followed.nodes = nodes;
        }
        if !self.args.no_keys {
            self.keys(followed, &mut done).await?;
        }
        if !self.args.no_policies {
            self.policies(followed, &mut done).await?;
        }
        followed.has_begun = true;
        Ok(done)
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = tokio::time::timeout(PATIENCE, self.from.get(path)).await;
        let answer =
            answer.map_err(|_| Failure::new(Exit::Unreachable, anyhow::anyhow!("Consul does not answer")))?;
        Ok(answer.map_err(of_consul)?.value)
    }

    /// Brings every node with its instances; their names with the ids of the instances.
    async fn nodes(&self, done: &mut Done) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let own: Vec<Node> = self.to.get("/v1/catalog/nodes").await?.value;
        let is_marked = |node: &Node| node.meta.as_ref().is_some_and(|meta| meta.contains_key(MARK));
        let mut here = BTreeMap::new();
        for node in self.read::<Vec<Node>>("/v1/catalog/nodes").await? {
            let path = encoded(&node.node);
            let found: Option<CatalogNode> = self.read(&format!("/v1/catalog/node/{path}")).await?;
            // It may have gone in between.
            let Some(found) = found else { continue };
            let checks: Vec<HealthCheck> = self.read(&format!("/v1/health/node/{path}")).await?;
            let is_own = own.iter().any(|own| own.node == node.node && !is_marked(own));
            // A node of ours has that name: on one host both have the host's.
            let name = if is_own { format!("{}-imported", node.node) } else { node.node.to_string() };
            let services: Vec<&NodeService> =
                found.services.values().filter(|service| &*service.service != OWN_SERVICE).collect();
            self.register(&name, &node, None, &checks).await?;
            for service in &services {
                self.register(&name, &node, Some(service), &checks).await?;
            }
            done.nodes += 1;
            done.services += services.len();
            here.insert(name, services.iter().map(|service| service.id.to_string()).collect());
        }
        Ok(here)
    }

    /// Registers a node, or one of its instances, with the checks that judge it.
    async fn register(
        &self,
        name: &str,
        node: &Node,
        service: Option<&NodeService>,
        checks: &[HealthCheck],
    ) -> Result {
        let id = service.map_or("", |service| &service.id);
        let of_it = checks.iter().filter(|check| &*check.service_id == id).map(|check| {
            json!({
                "Node": name, "CheckID": check.check_id, "Name": check.name, "Status": check.status,
                "Notes": check.notes, "Output": check.output, "ServiceID": check.service_id,
                "Definition": check.definition,
            })
        });
        let mut meta = node.meta.clone().unwrap_or_default();
        meta.insert(MARK.into(), self.args.url.as_str().into());
        let mut body = json!({
            "Node": name, "Address": node.address, "TaggedAddresses": node.tagged_addresses, "NodeMeta": meta,
            "Checks": of_it.collect::<Vec<_>>(),
        });
        if let Some(service) = service {
            let mut shown = json!({
                "ID": service.id, "Service": service.service, "Tags": service.tags, "Address": service.address,
                "Port": service.port, "Meta": service.meta, "Weights": service.weights,
                "EnableTagOverride": service.enable_tag_override,
            });
            let mut tagged = service.tagged_addresses.clone();
            // Made by whoever shows them; ours makes its own.
            tagged.retain(|tag, _| {
                !tag.starts_with("lan_") && !tag.starts_with("wan_") && &**tag != "consul-virtual"
            });
            shown["TaggedAddresses"] = json!(tagged);
            if let Some(locality) = &service.locality {
                shown["Locality"] = json!(locality);
            }
            body["Service"] = shown;
        }
        self.put("/v1/catalog/register", &body).await
    }

    async fn put(&self, path: &str, body: &Value) -> Result {
        let body = serde_json::to_vec(body).map_err(anyhow::Error::from)?;
        self.to.send(path, body).await.map(drop)
    }

    async fn take_away(
        &self,
        before: &BTreeMap<String, BTreeSet<String>>,
        now: &BTreeMap<String, BTreeSet<String>>,
        done: &mut Done,
    ) -> Result {
        for (node, ids) in before {
            let Some(left) = now.get(node) else {
                self.put("/v1/catalog/deregister", &json!({ "Node": node })).await?;
                done.gone += 1;
                continue;
            };
            for id in ids.difference(left) {
                self.put("/v1/catalog/deregister", &json!({ "Node": node, "ServiceID": id })).await?;
                done.gone += 1;
            }
        }
        Ok(())
    }

    /// Sets the keys that differ, and takes away those that an earlier pass of ours set.
    async fn keys(&self, followed: &mut Followed, done: &mut Done) -> Result {
        let pairs: Vec<KvPair> = match self.read("/v1/kv/?recurse").await {
            Err(failure) if failure.exit == Exit::NotFound => Vec::new(),
            read => read?,
        };
        let now = pairs.iter().map(|pair| (pair.key.to_string(), (pair.flags, pair.value.0.clone())));
        let now: BTreeMap<_, _> = now.collect();
        for (key, (flags, value)) in &now {
            if followed.keys.get(key) != Some(&(*flags, value.clone())) {
                self.to.send(&format!("/v1/kv/{}?flags={flags}", encoded(key)), value.to_vec()).await?;
                done.keys += 1;
            }
        }
        for key in followed.keys.keys().filter(|key| !now.contains_key(*key)) {
            self.to.bounded(self.to.client.delete(&format!("/v1/kv/{}", encoded(key)))).await?;
            done.gone += 1;
        }
        followed.keys = now;
        Ok(())
    }
}
