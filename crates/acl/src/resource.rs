//! What rules are about.

use std::fmt;

/// What something is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// These very lists.
    Acl,
    /// One node's agent.
    Agent,
    /// Events, by name.
    Event,
    /// Intentions, by the service that they lead to.
    Intention,
    /// Keys.
    Key,
    /// Gossip keys. There are none; the word is Consul's.
    Keyring,
    /// Settings of the mesh.
    Mesh,
    /// Nodes, by name.
    Node,
    /// The cluster itself.
    Operator,
    /// Other clusters.
    Peering,
    /// Prepared queries, by name.
    Query,
    /// Services, by name.
    Service,
    /// Sessions, by node.
    Session,
    /// Topics, by name. Our own.
    Topic,
}

impl Resource {
    /// Every one, in the order of their numbers.
    pub const ALL: [Resource; 14] = [
        Resource::Acl,
        Resource::Agent,
        Resource::Event,
        Resource::Intention,
        Resource::Key,
        Resource::Keyring,
        Resource::Mesh,
        Resource::Node,
        Resource::Operator,
        Resource::Peering,
        Resource::Query,
        Resource::Service,
        Resource::Session,
        Resource::Topic,
    ];

    /// The word for it in rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Resource::Acl => "acl",
            Resource::Agent => "agent",
            Resource::Event => "event",
            Resource::Intention => "intention",
            Resource::Key => "key",
            Resource::Keyring => "keyring",
            Resource::Mesh => "mesh",
            Resource::Node => "node",
            Resource::Operator => "operator",
            Resource::Peering => "peering",
            Resource::Query => "query",
            Resource::Service => "service",
            Resource::Session => "session",
            Resource::Topic => "topic",
        }
    }

    /// Reads that word.
    pub fn parse(word: &str) -> Option<Resource> {
        Resource::ALL.into_iter().find(|resource| resource.as_str() == word)
    }

    /// True when rules about it carry a name.
    pub fn is_named(self) -> bool {
        !matches!(
            self,
            Resource::Acl | Resource::Keyring | Resource::Mesh | Resource::Operator | Resource::Peering
        )
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// Look.
    Read,
    /// Look at everything under a prefix.
    List,
    /// Change.
    Write,
}

impl Right {
    /// The word for it in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::List => "list",
            Right::Write => "write",
        }
    }

    /// Reads that word.
    pub fn parse(word: &str) -> Option<Right> {
        [Right::Read, Right::List, Right::Write].into_iter().find(|right| right.as_str() == word)
    }
}

/// What a rule grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing, whatever a wider rule says.
    Deny,
    /// To look.
    Read,
    /// To look at everything under a prefix, too.
    List,
    /// Everything.
    Write,
}

impl Level {
    /// Reads the word for it in rules.
    pub fn parse(word: &str) -> Option<Level> {
        Some(match word {
            "deny" => Level::Deny,
            "read" => Level::Read,
            "list" => Level::List,
            "write" => Level::Write,
            _ => return None,
        })
    }

    /// Whether it is enough.
    pub fn grants(self, right: Right) -> bool {
        let enough = match right {
            Right::Read => Level::Read,
            Right::List => Level::List,
            Right::Write => Level::Write,
        };
        self >= enough
    }

    /// What two rules about the very same come to: a denial wins, else whichever grants more.
    pub fn merged(self, other: Level) -> Level {
        match self == Level::Deny || other == Level::Deny {
            true => Level::Deny,
            false => self.max(other),
        }
    }
}
