//! A question about a snapshot: what it depends on, and what it shows.

use std::sync::Arc;

use catalog::{Snapshot, Topic};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use store::Watched;

use crate::access::Lens;
use crate::http::{Answer, Failure};

/// What rendering may know beside the snapshot. Constant while the daemon runs, so that equal indexes mean
/// equal answers.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) datacenter: Arc<str>,
}

/// Part of the catalog that an answer depends on: what to watch, and at which index it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Instances of one service with their checks and nodes.
    Service(Arc<str>),
    /// Names and tags of all services.
    ServiceNames,
    /// Definitions of all nodes.
    Nodes,
    /// Everything on one node.
    Node(Arc<str>),
    /// Everything on every node.
    AllNodes,
    /// All checks.
    Checks,
    /// All checks and the definitions of all nodes.
    ChecksAndNodes,
    /// All sessions.
    Sessions,
    /// All prepared queries.
    Queries,
    /// All events.
    Events,
    /// Messages of one topic.
    Messages(Arc<str>),
    /// All topics.
    Topics,
    /// Rules and redirections.
    Rules,
    /// Roots, issuers and the mode.
    Trust,
    /// Tokens, policies and roles.
    Acl,
    /// One key.
    Key(Arc<str>),
    /// Every key with that prefix.
    Prefix(Arc<str>),
}

impl Scope {
    /// Whom to wait for.
    pub(crate) fn watched(&self, snapshot: &Snapshot) -> Vec<Watched> {
        let topic = |topic| vec![Watched::Topic(topic)];
        match self {
            Scope::Service(name) => topic(Topic::Service(name.clone())),
            Scope::ServiceNames => topic(Topic::ServiceNames),
            Scope::Nodes => topic(Topic::Nodes),
            Scope::Node(name) => topic(Topic::Node(name.clone())),
            Scope::AllNodes => {
                let each = snapshot.nodes().map(|entry| Watched::Topic(Topic::Node(entry.def.name.clone())));
                each.chain([Watched::Topic(Topic::Nodes)]).collect()
            }
            Scope::Checks => topic(Topic::Checks),
            Scope::ChecksAndNodes => vec![Watched::Topic(Topic::Checks), Watched::Topic(Topic::Nodes)],
            Scope::Sessions => topic(Topic::Sessions),
            Scope::Queries => topic(Topic::Queries),
            Scope::Events => topic(Topic::Events),
            Scope::Messages(name) => topic(Topic::Messages(name.clone())),
            Scope::Topics => topic(Topic::Topics),
            Scope::Rules => topic(Topic::Rules),
            Scope::Trust => topic(Topic::Trust),
            Scope::Acl => vec![Watched::Topic(Topic::Acl), Watched::Topic(Topic::Trust)],
            Scope::Key(key) => topic(Topic::Key(key.clone())),
            Scope::Prefix(prefix) => vec![Watched::Prefix(prefix.clone())],
        }
    }

    /// True when whom to wait for depends on the snapshot.
    pub(crate) fn is_fluid(&self) -> bool {
        *self == Scope::AllNodes
    }

    /// Moves whenever the answer may have changed; at least 1.
    pub(crate) fn index(&self, snapshot: &Snapshot) -> u64 {
        let tables = snapshot.tables();
        let index = match self {
            Scope::Service(name) => snapshot.service_index(name),
            Scope::ServiceNames => tables.services,
            Scope::Nodes => tables.nodes,
            // A node that is gone was taken away at or before the table's last change.
            Scope::Node(name) => snapshot.node(name).map_or(tables.nodes, |entry| entry.touched_index),
            Scope::AllNodes => {
                snapshot.nodes().map(|entry| entry.touched_index).max().unwrap_or(0).max(tables.nodes)
            }
            Scope::Checks => tables.checks,
            Scope::ChecksAndNodes => tables.checks.max(tables.nodes),
            Scope::Sessions => tables.sessions,
            Scope::Queries => tables.queries,
            Scope::Events => tables.events,
            // A topic that is gone went at or before the table's last change.
            Scope::Messages(name) => snapshot.topic(name).map_or(tables.topics, |topic| topic.modify_index),
            Scope::Topics => tables.topics,
            Scope::Rules => snapshot.rules().index(),
            Scope::Trust => snapshot.cluster().trust_index(),
            Scope::Acl => snapshot.acl_index(),
            Scope::Key(key) => snapshot.key_index(key),
            Scope::Prefix(prefix) => snapshot.prefix_index(prefix),
        };
        index.max(1)
    }
}

type Render = Box<dyn Fn(&Context, &Lens<'_>, bool) -> Result<Answer, Failure> + Send + Sync>;

/// A question about a snapshot, with its parameters already checked.
pub(crate) struct View {
    pub(crate) scope: Scope,
    render: Render,
}

impl View {
    /// A view of `scope`. What `render` shows must not change while the scope's index and the caller's rights
    /// stand; its last argument asks for indented JSON.
    pub(crate) fn new(
        scope: Scope,
        render: impl Fn(&Context, &Lens<'_>, bool) -> Result<Answer, Failure> + Send + Sync + 'static,
    ) -> View {
        View { scope, render: Box::new(render) }
    }

    /// What the caller may see of it, with a field that says so where something was left out.
    pub(crate) fn render(&self, context: &Context, at: &Lens<'_>, pretty: bool) -> Result<Answer, Failure> {
        let answer = (self.render)(context, at, pretty)?;
        Ok(match at.hides() {
            true => answer.with_field("x-consul-results-filtered-by-acls", "true"),
            false => answer,
        })
    }
}

impl Answer {
    /// 404 without a body, but with an index to wait on.
    pub(crate) fn nothing() -> Answer {
        Answer::empty().with_status(StatusCode::NOT_FOUND)
    }

    /// Raw bytes of a key: shown as text and never run by a browser.
    pub(crate) fn raw(bytes: bytes::Bytes) -> Answer {
        Answer { content_type: Some(HeaderValue::from_static("text/plain")), body: bytes, ..Answer::empty() }
            .with_field("x-content-type-options", HeaderValue::from_static("nosniff"))
            .with_field("content-security-policy", HeaderValue::from_static("sandbox"))
    }

    /// JSON of a list: `[]` and never `null`.
    pub(crate) fn list<T: Serialize>(
        items: impl Iterator<Item = T>,
        pretty: bool,
    ) -> Result<Answer, Failure> {
        Answer::json_as(&items.collect::<Vec<T>>(), pretty)
    }
}
