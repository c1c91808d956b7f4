//! Names that lead to others: for a move, for a canary, or out of the cluster by a URI.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::intention::Origin;
use crate::model::Index;

/// One place that a name leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// A service's name, or a URI like `tcp://host:port`.
    pub to: Arc<str>,
    /// Share of the connections, at least 1.
    pub weight: u16,
}

impl Destination {
    /// True when it is a URI and no name.
    pub fn is_uri(&self) -> bool {
        self.to.contains("://")
    }
}

/// A name with where it leads instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirection {
    /// The name, in lower case.
    pub name: Arc<str>,
    /// Where it leads. One of several may be the name itself: that share stays.
    pub to: Vec<Destination>,
    /// For people.
    #[serde(default)]
    pub note: Arc<str>,
    /// Where it was written.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// Index of its creation. Set when it is applied, as is the next.
    #[serde(default)]
    pub create_index: Index,
    /// Index of its last change.
    #[serde(default)]
    pub modify_index: Index,
}

impl Redirection {
    /// From one name to one place.
    pub fn new(name: &str, to: &str) -> Redirection {
        Redirection {
            name: name.to_ascii_lowercase().into(),
            to: vec![Destination { to: to.into(), weight: 1 }],
            note: "".into(),
            origin: None,
            create_index: 0,
            modify_index: 0,
        }
    }

    /// Names that it leads on to: not URIs, and not itself.
    pub fn leads_to(&self) -> impl Iterator<Item = &Arc<str>> {
        let on = |to: &&Destination| !to.is_uri() && !to.to.eq_ignore_ascii_case(&self.name);
        self.to.iter().filter(on).map(|destination| &destination.to)
    }
}

impl fmt::Display for Redirection {
    /// `web to web-v1 (9 of 10), web-v2 (1 of 10)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to ", self.name)?;
        let total: u32 = self.to.iter().map(|destination| u32::from(destination.weight)).sum();
        for (number, Destination { to, weight }) in self.to.iter().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}{to}")?;
            if self.to.len() > 1 {
                write!(f, " ({weight} of {total})")?;
            }
        }
        Ok(())
    }
}

/// The names of a circle that begins and ends with `name`, when following redirections from it comes back.
/// `next` gives where a name in lower case is redirected to.
pub fn circle<'a>(name: &str, next: &dyn Fn(&str) -> Option<&'a Redirection>) -> Option<Vec<Arc<str>>> {
    let mut seen = std::collections::BTreeSet::new();
    let mut chain = vec![Arc::from(name)];
    come_back(name, next, &mut seen, &mut chain).then_some(chain)
}

fn come_back<'a>(
    home: &str,
    next: &dyn Fn(&str) -> Option<&'a Redirection>,
    seen: &mut std::collections::BTreeSet<Arc<str>>,
    chain: &mut Vec<Arc<str>>,
) -> bool {
    let Some(redirection) = chain.last().and_then(|name| next(&name.to_ascii_lowercase())) else {
        return false;
    };
    for to in redirection.leads_to() {
        chain.push(to.clone());
        if to.eq_ignore_ascii_case(home) {
            return true;
        }
        // A circle that does not pass `home` is some other name's.
        if seen.insert(to.to_ascii_lowercase().into()) && come_back(home, next, seen, chain) {
            return true;
        }
        chain.pop();
    }
    false
}

/// Wishes about redirections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RedirectionCommand {
    /// Adds one, or replaces the one of its name.
    Put(Box<Redirection>),
    /// Takes one away.
    Remove {
        /// Name that is redirected.
        name: Arc<str>,
    },
}
