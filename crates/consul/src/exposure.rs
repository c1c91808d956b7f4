//! Reachability from outside, under `/v1/portolan/exposures`: what is wished, and how it stands on the node that
//! answers, link by link.

use serde::{Deserialize, Serialize};

use crate::Text;

/// Body of `PUT /v1/portolan/exposure/:service`: everything that the service shall be outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Wish {
    /// Ports: `443:8443/tcp`, or `443/tcp` for the port that the instance is registered with.
    pub ports: Vec<Text>,
    /// Public names.
    pub names: Vec<Text>,
    /// Node that shall expose it; empty for each that has an instance.
    pub via: Text,
    /// By HTTPS under its names, with a certificate that the node gets by itself; then no port is needed.
    #[serde(rename = "HTTPS")]
    pub https: bool,
}

/// Answer of `GET /v1/portolan/exposures`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Exposures {
    /// Node that answers.
    pub node: Text,
    /// False when this node is configured to carry nothing out: then states are `planned`.
    pub enabled: bool,
    /// The address that the world sees, as far as it is known.
    pub public_address: Text,
    /// What stands between this node and the world, in words; empty until it is known.
    pub verdict: Text,
    /// Routers that answered, each with its language.
    pub routers: Vec<Text>,
    /// One for each port that is wished.
    pub chains: Vec<Chain>,
    /// What does not hold, and why.
    pub problems: Vec<Problem>,
    /// Tags and labels that cannot be read.
    pub complaints: Vec<Complaint>,
    /// Wishes that cannot be met together.
    pub conflicts: Vec<Text>,
    /// Why a source of wishes is not heard now; empty when all are.
    pub trouble: Text,
    /// Public names of this node: those that are wished, also by services that are waited for, and those that are not taken
    /// back yet.
    pub names: Vec<Text>,
    /// Every source of wishes was heard, and what it wished last counts: a name that is not among `names` is wished by nobody.
    pub heard: bool,
}

/// A port with everything between the service and the world.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Chain {
    /// Service by its name.
    pub service: Text,
    /// At the router: `443/tcp`.
    pub port: Text,
    /// On the node; 0 when no instance says it.
    pub internal: u16,
    /// `open` when every link holds, `broken`, `waiting` for its service, or `planned`.
    pub state: Text,
    /// Where clients outside find it; empty until they do.
    pub url: Text,
    /// From the inside out.
    pub links: Vec<Link>,
}

/// A link of a chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Link {
    /// `service`, `health`, `answer`, `firewall`, `mapping`, `pinhole`, `outside`, `dns`, `inside`, `certificate`.
    pub link: Text,
    /// `holds`, `broken`, `waiting` for one before it, `planned`, or `none` when nothing is asked of it.
    pub state: Text,
    /// What holds, or why it does not.
    pub detail: Text,
}

/// Something that does not hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Problem {
    /// What was attempted.
    pub attempted: Text,
    /// Why it failed.
    pub cause: Text,
}

/// A tag or label that means us and cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Complaint {
    /// Id of the instance.
    pub service: Text,
    /// The tag, shortened when it is long.
    pub tag: Text,
    /// Where, in characters from 1.
    pub column: usize,
    /// What is wrong there.
    pub why: Text,
}
