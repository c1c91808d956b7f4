//! Wishes about tokens, policies and roles, and why they are refused.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::acl::{AclPolicy, AclRole, AclToken, DefaultPolicy};
use crate::model::Index;

/// Commands on tokens, policies and roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AclCommand {
    /// Makes the first token that may do everything. Once only; again with the index that the refusal told.
    Bootstrap {
        /// The token; whatever it is linked to, it may do everything.
        token: Box<AclToken>,
        /// Index that a refused one was told.
        reset: Option<Index>,
    },
    /// Makes a token, or changes one that is there.
    PutToken {
        /// As it is to be.
        token: Box<AclToken>,
        /// It must not be there, else it must.
        is_new: bool,
    },
    /// Takes a token away.
    DeleteToken {
        /// Its accessor.
        accessor: Arc<str>,
    },
    /// Makes a policy, or changes one that is there.
    PutPolicy {
        /// As it is to be.
        policy: Box<AclPolicy>,
        /// It must not be there, else it must.
        is_new: bool,
    },
    /// Takes a policy away, also from the tokens and roles that are linked to it.
    DeletePolicy {
        /// Its id.
        id: Arc<str>,
    },
    /// Makes a role, or changes one that is there.
    PutRole {
        /// As it is to be.
        role: Box<AclRole>,
        /// It must not be there, else it must.
        is_new: bool,
    },
    /// Takes a role away, also from the tokens that have it.
    DeleteRole {
        /// Its id.
        id: Arc<str>,
    },
    /// Says what holds where no rule says anything.
    SetDefault(DefaultPolicy),
}

/// Why a wish about tokens, policies and roles was refused. The words are Consul's, because clients read them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AclRefusal {
    /// There was a first token before.
    #[error("Permission denied: ACL bootstrap no longer allowed (reset index: {reset})")]
    Bootstrapped {
        /// What to bootstrap again with.
        reset: Index,
    },
    /// There was a first token before, and this is not the index that it was made at.
    #[error("Permission denied: Invalid bootstrap reset index (specified {given}, reset index: {reset})")]
    WrongReset {
        /// What came.
        given: Index,
        /// What would be right.
        reset: Index,
    },
    /// No such token.
    #[error("Cannot find token \"{0}\"")]
    UnknownToken(Arc<str>),
    /// No such policy.
    #[error("cannot find policy {0}")]
    UnknownPolicy(Arc<str>),
    /// No such role.
    #[error("cannot find role {0}")]
    UnknownRole(Arc<str>),
    /// A link leads nowhere.
    #[error("No such ACL {what} with ID \"{id}\"")]
    NoSuchLink {
        /// `policy` or `role`.
        what: &'static str,
        /// Its id.
        id: Arc<str>,
    },
    /// The accessor or the secret is another token's.
    #[error("Invalid Token: {0} is already in use")]
    TokenTaken(&'static str),
    /// The name is another's.
    #[error("Invalid {what}: A {what} with Name \"{name}\" already exists")]
    NameTaken {
        /// `Policy` or `Role`.
        what: &'static str,
        /// The name.
        name: Arc<str>,
    },
    /// Part of what must always be there, or does not change in its life.
    #[error("{0}")]
    Fixed(String),
    /// Too many of them.
    #[error("there are {most} ACL {what} already, which is the limit; delete some")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        most: usize,
    },
}
