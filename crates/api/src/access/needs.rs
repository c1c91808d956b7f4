//! What a row of the table asks for, and whether a caller has it.

use acl::{Resource, Right};

use crate::access::Caller;
use crate::http::{Failure, Parts, Query};

/// What a request must be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: whoever reaches the listener may ask.
    Nothing,
    /// No right, but the answer shows only what the caller may see.
    Filtered,
    /// A token that is known, whatever it may do.
    Token,
    /// A right on something that has no name.
    Whole(Resource, Right),
    /// A right on what the path names.
    Named(Resource, Right),
    /// A right on this node.
    Here(Resource, Right),
    /// A right on everything of its kind.
    Every(Resource, Right),
    /// To read the key that the path names; several are filtered.
    ReadKeys,
    /// To write the key that the path names, or all under it.
    WriteKeys,
    /// What the body or the state tells: the handler asks, with the same rights, for each thing.
    Each(Resource, Right),
}

impl Needs {
    /// True when whoever has no right at all is refused, and not shown less.
    pub fn may_refuse(self) -> bool {
        !matches!(self, Needs::Nothing | Needs::Filtered)
    }
}

impl Needs {
    /// True when only the endpoint can judge, or leave out what is not to be seen.
    pub(crate) fn is_left_to_the_endpoint(self) -> bool {
        matches!(self, Needs::Filtered | Needs::Each(..))
    }
}

/// What one request asks for: kept while it waits, to be judged again when the rules changed meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Demand {
    needs: Needs,
    /// What the path names.
    name: Option<Box<str>>,
    is_many: bool,
}

impl Demand {
    pub(crate) fn new(needs: Needs, rest: &str, query: &Query) -> Demand {
        let is_named = matches!(needs, Needs::Named(..) | Needs::ReadKeys | Needs::WriteKeys);
        Demand {
            needs,
            name: is_named.then(|| rest.into()),
            is_many: query.has("recurse") || (needs == Needs::ReadKeys && query.has("keys")),
        }
    }

    /// What a request to somebody else's endpoints asks for.
    pub(crate) fn of_guest(needs: Needs) -> Demand {
        Demand { needs, name: None, is_many: false }
    }

    pub(crate) fn needs(&self) -> Needs {
        self.needs
    }
}

/// Judges what a request asks for. `node` is this node's name.
///
/// # Errors
/// 403, in Consul's words.
pub(crate) fn judge(demand: &Demand, caller: &Caller, node: &str) -> Result<(), Failure> {
    let name = demand.name.as_deref().unwrap_or_default();
    match demand.needs {
        Needs::Nothing | Needs::Filtered | Needs::Token | Needs::Each(..) => Ok(()),
        Needs::Whole(resource, right) => caller.may(resource, right, ""),
        Needs::Named(resource, right) => caller.may(resource, right, name),
        Needs::Here(resource, right) => caller.may(resource, right, node),
        Needs::Every(resource, right) => caller.may_under(resource, right, ""),
        Needs::ReadKeys if demand.is_many => Ok(()),
        Needs::ReadKeys => caller.may(Resource::Key, Right::Read, name),
        Needs::WriteKeys if demand.is_many => caller.may_under(Resource::Key, Right::Write, name),
        Needs::WriteKeys => caller.may(Resource::Key, Right::Write, name),
    }
}

impl Parts {
    /// See [`Caller::may`].
    pub(crate) fn may(&self, resource: Resource, right: Right, name: &str) -> Result<(), Failure> {
        self.caller.may(resource, right, name)
    }
}
