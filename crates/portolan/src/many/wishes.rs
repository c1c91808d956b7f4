//! What operators wish of the cluster, carried out.

use std::error::Error as _;

use api::{Refused, Wish};
use catalog::{ClusterCommand, Command, KeyHash, Refusal, Role};
use cluster::token;
use consul::own;
use log::paxos::ChangeError;
use serde_json::{Value, json};
use store::SubmitError;

use super::begin;
use super::face::{Face, Linked};
use crate::daemon::control::End;

/// How long a join token is good unless something else was said.
const TOKEN_MS: u64 = 60 * 60 * 1000;
/// Servers that a token names.
const DOORS: usize = 5;

type Done = Result<Value, Refused>;

impl Face {
    pub(super) async fn wish(&self, wish: Wish) -> Done {
        match wish {
            Wish::Init(_) => self.init().await,
            Wish::Join(request) => self.join(request).await,
            Wish::CreateToken(request) => self.create_token(request).await,
            Wish::RevokeToken(id) => {
                let hash = self.secret(&id)?;
                self.submit(ClusterCommand::RevokeJoinSecret { hash }).await
            }
            Wish::Remove(name) => self.remove(&name).await,
            Wish::Leave => {
                self.remove(&self.store.node().clone()).await?;
                let home = self.home()?;
                begin::mark_left(home.dir()).map_err(|error| failed(&error))?;
                self.control.end(End::Leave);
                Ok(Value::Null)
            }
            Wish::Deny(key) => {
                let (key, reason) = (self.key(&key)?, "an operator said so".into());
                self.submit(ClusterCommand::Deny { key, reason }).await
            }
            Wish::RotateRoot => self.rotate().await,
            Wish::Allow(key) => {
                let key = self.key(&key)?;
                self.submit(ClusterCommand::Allow { key }).await
            }
        }
    }

    async fn init(&self) -> Done {
        let home = self.home()?;
        self.refuse_member()?;
        let (config, node) = (self.config.clone(), self.store.node().clone());
        let begun = tokio::task::spawn_blocking(move || begin::init(&home, &config, Some(&node))).await;
        let begun = begun.map_err(|error| Refused::Unavailable(error.to_string()))?;
        let begun = begun.map_err(|error| failed(&error))?;
        tracing::info!(cluster = %begun.cluster, "this node is the first of a cluster");
        self.control.end(End::Again);
        shown(&begun)
    }

    async fn join(&self, request: own::JoinRequest) -> Done {
        let home = self.home()?;
        self.refuse_member()?;
        let view = self.store.now();
        let joined = begin::join(&home, &self.config, &request, Some(&view)).await;
        let joined = joined.map_err(|error| failed(&error))?;
        tracing::info!(cluster = %joined.cluster, role = %joined.role, "this node joined a cluster");
        self.control.end(End::Again);
        shown(&joined)
    }

    async fn create_token(&self, request: own::TokenRequest) -> Done {
        let role = match &*request.role {
            "" => Role::Server,
            word => Role::parse(word)
                .ok_or_else(|| Refused::Wrong(format!("role {word:?} is neither server nor agent")))?,
        };
        let view = self.store.now();
        let known = view.cluster();
        let root = known.active_root().ok_or_else(alone)?;
        let mut servers: Vec<_> = known.members().filter(|member| member.role == Role::Server).collect();
        // The one that was asked answers most surely.
        servers.sort_by_key(|member| member.name != *self.store.node());
        let doors = servers.iter().take(DOORS).flat_map(|member| member.addresses.iter());
        let doors = doors.map(|address| address.to_string()).collect();
        let lives_ms = if request.ttl_ms == 0 { TOKEN_MS } else { request.ttl_ms };
        let wish = token::Wish { role, uses: request.uses.max(1), lives_ms };
        let now_ms = (cluster::time::system())();
        let (made, command) = token::create(known.id(), root.key, doors, &wish, now_ms)
            .map_err(|error| failed(&error.into()))?;
        self.store.submit(command).await.map_err(refused)?;
        let text = made.reveal().map_err(|error| failed(&error.into()))?;
        let id = made.secret.hash().to_string().into();
        shown(&own::Token { token: text.into(), id, expires_ms: made.expires_ms })
    }

    /// The vote goes first: taken away after the name, it might be missing where it is counted.
    async fn remove(&self, name: &str) -> Done {
        let linked = self.linked()?;
        let view = self.store.now();
        let member = view.cluster().member(name);
        let member =
            member.ok_or_else(|| Refused::Unknown(format!("\"{name}\" is no member of the cluster")))?;
        linked.order.take_vote(member.server_id).await.map_err(|error| match error {
            ChangeError::Stopped(_) => Refused::Conflict(error.to_string()),
            _ => Refused::Unavailable(format!("take away the vote of \"{name}\": {error}")),
        })?;
        self.submit(ClusterCommand::RemoveMember { name: name.into() }).await
    }

    async fn rotate(&self) -> Done {
        let linked = self.linked()?;
        let now_ms = (cluster::time::system())();
        let begun = cluster::rotate::begin(&linked.local, &self.store, now_ms).await;
        let key = begun.map_err(|error| failed(&error.into()))?;
        tracing::warn!(%key, "another root was announced, as an operator wished");
        Ok(json!({ "Key": key.to_string() }))
    }

    async fn submit(&self, command: ClusterCommand) -> Done {
        self.store.submit(Command::Cluster(command)).await.map_err(refused)?;
        Ok(json!({}))
    }

    fn home(&self) -> Result<std::sync::Arc<crate::daemon::home::Home>, Refused> {
        let why =
            "this node keeps nothing on disk: run `portolan serve` for one that can be part of a cluster";
        self.home.clone().ok_or_else(|| Refused::Conflict(why.into()))
    }

    fn linked(&self) -> Result<&Linked, Refused> {
        self.membership.as_ref().ok_or_else(alone)
    }

    fn refuse_member(&self) -> Result<(), Refused> {
        match &self.membership {
            None => Ok(()),
            Some(linked) => {
                let cluster = linked.local.with(|identity| identity.facts.cluster.clone());
                Err(Refused::Conflict(format!("this node belongs to cluster {cluster} already")))
            }
        }
    }

    /// A join secret by its id, which may be cut short as long as there is no other.
    fn secret(&self, id: &str) -> Result<KeyHash, Refused> {
        let view = self.store.now();
        let mut found =
            view.cluster().join_secrets().filter(|secret| secret.hash.to_string().starts_with(id));
        match (found.next(), found.next()) {
            (Some(secret), None) => Ok(secret.hash),
            (Some(_), Some(_)) => {
                Err(Refused::Wrong(format!("more than one token's id begins with \"{id}\"")))
            }
            (None, _) => Err(Refused::Unknown(format!("no token has the id \"{id}\""))),
        }
    }

    /// A key by its hash, or by the name of the member that has it.
    fn key(&self, text: &str) -> Result<KeyHash, Refused> {
        let member = || self.store.now().cluster().member(text).map(|member| member.key);
        KeyHash::parse(text).or_else(member).ok_or_else(|| {
            Refused::Wrong(format!(
                "\"{text}\" is neither a member's name nor 64 hexadecimal digits of a key's hash"
            ))
        })
    }
}

fn alone() -> Refused {
    Refused::Conflict("this node is alone: `portolan init` makes it the first of a cluster".into())
}

fn shown<T: serde::Serialize>(answer: &T) -> Done {
    serde_json::to_value(answer).map_err(|error| Refused::Unavailable(error.to_string()))
}

/// Whatever stood in the way, with its causes in one line.
fn failed(error: &anyhow::Error) -> Refused {
    Refused::Conflict(format!("{error:#}"))
}

fn refused(error: SubmitError) -> Refused {
    match &error {
        SubmitError::Refused(Refusal::Invalid(invalid)) => Refused::Wrong(invalid.to_string()),
        SubmitError::Refused(refusal) => Refused::Conflict(refusal.to_string()),
        SubmitError::TooNew { .. } => Refused::Conflict(error.to_string()),
        other => {
            let cause = other.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            Refused::Unavailable(format!("{other}{cause}"))
        }
    }
}
