//! Rules and redirections, as our own paths show and take them.

use serde::{Deserialize, Serialize};

use crate::own::{Endpoint, Virtual};
use crate::{Labels, Text};

/// One rule: an element of [`Rules`], and the body of `PUT /v1/portolan/rule`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Rule {
    /// By which it is replaced and removed. Left out: it follows from what the rule is about.
    #[serde(rename = "ID")]
    pub id: Text,
    /// `allow` or `deny`.
    pub action: Text,
    /// Whose connections it is about: `any`, `uid:NUMBER`, `node:NAME`, `host:NAME[:PORT]`, a network or an
    /// address, a name, a SPIFFE id.
    pub source: Text,
    /// To which service; `*` for every one.
    pub service: Text,
    /// Only by this; empty for anything.
    pub scheme: Text,
    /// Only `in` or `out`; empty for both.
    pub direction: Text,
    /// For people.
    pub note: Text,
    /// Labels.
    pub meta: Labels,
    /// Where it was written; empty when nowhere.
    pub file: Text,
    /// See `file`; from 1.
    pub line: u32,
    /// True for a rule of the configuration of the node that answers. Not taken.
    pub local: bool,
    /// Connections and requests that it decided about on the node that answers, since it started. Not taken.
    pub hits: u64,
    /// Index of its creation. Not taken.
    pub create_index: u64,
    /// Index of its last change. Not taken.
    pub modify_index: u64,
}

/// One redirection: an element of [`Rules`], and the body of `PUT /v1/portolan/redirect/:name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Redirect {
    /// Name that leads elsewhere. Taken from the path.
    pub name: Text,
    /// Where it leads.
    pub to: Vec<Share>,
    /// For people.
    pub note: Text,
    /// Where it was written; empty when nowhere.
    pub file: Text,
    /// See `file`; from 1.
    pub line: u32,
    /// Index of its last change. Not taken.
    pub modify_index: u64,
}

/// One place that a name leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Share {
    /// Service name or URI.
    pub to: Text,
    /// Its share of the connections.
    pub weight: u16,
}

impl Default for Share {
    fn default() -> Share {
        Share { to: "".into(), weight: 1 }
    }
}

/// Answer of `GET /v1/portolan/rules`; of it `PUT /v1/portolan/rules` takes the rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Rules {
    /// `open`, `observe` or `enforce`.
    pub mode: Text,
    /// Rules in the order in which they are asked: the first that matches decides, and where none does the answer
    /// is no.
    pub rules: Vec<Rule>,
    /// Connections and requests that no rule matched.
    pub unmatched: u64,
    /// Names that lead elsewhere.
    pub redirections: Vec<Redirect>,
    /// Index of the last change of any of them.
    pub index: u64,
}

/// Answer of `PUT /v1/portolan/rule`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RuleId {
    /// Id that it is kept under.
    #[serde(rename = "ID")]
    pub id: Text,
}

/// Answer of `GET /v1/portolan/explain/:name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Explanation {
    /// Whose connection it would be.
    pub from: Text,
    /// By what it would come.
    pub scheme: Text,
    /// Name that was asked for.
    pub name: Text,
    /// `open`, `observe` or `enforce`.
    pub mode: Text,
    /// What of the HTTP proxy's rules and names decides about a URL, or what of a DNS name; empty where a name stands for
    /// itself.
    pub way: Text,
    /// Redirections that would be followed, in order, each in words with its file and line.
    pub redirections: Vec<Text>,
    /// Service that the name leads to in the end; empty when it leads nowhere.
    pub service: Text,
    /// What the rules say, whatever the mode; `null` when they were not reached.
    pub rules_allow: Option<bool>,
    /// The rule that says so, in words with its file and line; empty when none matches.
    pub rule: Text,
    /// Whether a connection would be made now.
    pub allowed: bool,
    /// Why not; empty when it would.
    pub why: Text,
    /// The service's stable address as it holds on this host.
    pub r#virtual: Option<Virtual>,
    /// What DNS answers for it: to programs on this host, and to others.
    pub dns: Text,
    /// Endpoints that may be chosen, with the way to each.
    pub endpoints: Vec<Reached>,
    /// How one of them is chosen.
    pub choice: Text,
    /// Instances that get nothing, and why.
    pub left_out: Vec<LeftOut>,
    /// What happens to a live connection when the rules change.
    pub cut: Text,
}

/// An endpoint with the way to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Reached {
    /// Where.
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// `local`, `direct`, or `mesh` where only its own node reaches it.
    pub path: Text,
    /// The name that its node proves by certificate on the way; empty where none is shown.
    pub proves: Text,
}

/// An instance that gets no connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LeftOut {
    /// Node name.
    pub node: Text,
    /// Instance id on that node.
    #[serde(rename = "ID")]
    pub id: Text,
    /// Why.
    pub why: Text,
}
