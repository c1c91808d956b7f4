//! Several operations in one place of the order, all or nothing: keys, nodes, instances and checks.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::{CheckRegistration, KvFound, KvOperation};
use crate::model::{Check, Index, Instance, InstanceDef, NodeDef, NodeEntry};

/// One operation of [`crate::Command::Transact`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// On keys.
    Kv(KvOperation),
    /// On a node. Unless it is set only its name counts.
    Node {
        /// What to do.
        verb: Verb,
        /// Definition.
        def: Box<NodeDef>,
    },
    /// On an instance. Unless it is set only its id counts.
    Instance {
        /// What to do.
        verb: Verb,
        /// Node name.
        node: Arc<str>,
        /// Definition.
        def: Box<InstanceDef>,
    },
    /// On a check. Unless it is set only its id counts.
    Check {
        /// What to do.
        verb: Verb,
        /// Node name.
        node: Arc<str>,
        /// Definition and status.
        check: Box<CheckRegistration>,
    },
}

/// What an operation does to one thing of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Reads it; it must be there.
    Get,
    /// Registers it; with an index only if that is its modify index (0: only if absent).
    Set(Option<Index>),
    /// Takes it away; with an index only if that is its modify index.
    Delete(Option<Index>),
}

/// What an operation left or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A key.
    Key(KvFound),
    /// A node.
    Node(Arc<NodeEntry>),
    /// An instance.
    Instance(Arc<Instance>),
    /// A check.
    Check(Arc<Check>),
}
