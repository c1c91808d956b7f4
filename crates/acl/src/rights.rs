//! What many rules add up to, ready to be asked.

use std::collections::BTreeMap;
use std::ops::Bound;

use catalog::acl::DefaultPolicy;

use crate::resource::{Level, Resource, Right};
use crate::rules::Rule;

/// Rules about one kind of thing, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Names {
    exact: BTreeMap<Box<str>, Level>,
    prefixes: BTreeMap<Box<str>, Level>,
    /// Lengths of the prefixes, longest first, once each.
    lengths: Vec<usize>,
}

/// What somebody may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    is_everything: bool,
    /// By resource; of those without names, the level itself.
    named: Vec<Names>,
    fallback: Vec<Level>,
}

impl Rights {
    /// Everything: an operator, and everybody where nobody is asked.
    pub fn everything() -> Rights {
        Rights { is_everything: true, ..Rights::compile(&[], DefaultPolicy::Allow) }
    }

    /// What rules come to, with `default` where none says anything.
    pub fn compile(rules: &[Rule], default: DefaultPolicy) -> Rights {
        let fallback = |resource: Resource| match (resource, default) {
            (Resource::Acl, _) | (_, DefaultPolicy::Deny) => Level::Deny,
            (_, DefaultPolicy::Allow) => Level::Write,
            (_, DefaultPolicy::Read) => Level::List,
        };
        let mut named: Vec<Names> = Resource::ALL.iter().map(|_| Names::default()).collect();
        let mut fallback: Vec<Level> = Resource::ALL.into_iter().map(fallback).collect();
        let mut ruled: Vec<Option<Level>> = vec![None; fallback.len()];
        for rule in rules {
            let at = rule.resource as usize;
            match rule.resource.is_named() {
                true => named[at].add(&rule.name, rule.is_prefix, rule.level),
                false => ruled[at] = Some(ruled[at].map_or(rule.level, |before| before.merged(rule.level))),
            }
        }
        for (fallback, ruled) in fallback.iter_mut().zip(ruled) {
            *fallback = ruled.unwrap_or(*fallback);
        }
        named.iter_mut().for_each(Names::settle);
        Rights { is_everything: false, named, fallback }
    }

    /// True when nothing is ever refused.
    pub fn is_everything(&self) -> bool {
        self.is_everything
    }

    /// Whether `name` may be treated so. The rule for that very name counts, else the longest prefix's, else the
    /// default.
    pub fn allows(&self, resource: Resource, right: Right, name: &str) -> bool {
        self.is_everything || self.level(resource, name).grants(right)
    }

    /// Whether every name that begins with `prefix` may be treated so, those that no rule names included.
    pub fn allows_under(&self, resource: Resource, right: Right, prefix: &str) -> bool {
        if self.is_everything {
            return true;
        }
        let names = &self.named[resource as usize];
        let base = names.of_prefix(prefix).unwrap_or(self.fallback[resource as usize]);
        base.grants(right)
            && [&names.exact, &names.prefixes].into_iter().all(|all| grants_under(all, prefix, right))
    }

    /// Whether any name at all may be treated so.
    pub fn allows_some(&self, resource: Resource, right: Right) -> bool {
        let names = &self.named[resource as usize];
        self.is_everything
            || self.fallback[resource as usize].grants(right)
            || names.exact.values().chain(names.prefixes.values()).any(|level| level.grants(right))
    }

    fn level(&self, resource: Resource, name: &str) -> Level {
        self.named[resource as usize].of(name).unwrap_or(self.fallback[resource as usize])
    }
}

fn grants_under(names: &BTreeMap<Box<str>, Level>, prefix: &str, right: Right) -> bool {
    let from = (Bound::Included(prefix), Bound::Unbounded);
    let mut under = names.range::<str, _>(from).take_while(|(name, _)| name.starts_with(prefix));
    under.all(|(_, level)| level.grants(right))
}

impl Names {
    fn add(&mut self, name: &str, is_prefix: bool, level: Level) {
        let names = if is_prefix { &mut self.prefixes } else { &mut self.exact };
        names.entry(name.into()).and_modify(|before| *before = before.merged(level)).or_insert(level);
    }

    fn settle(&mut self) {
        self.lengths = self.prefixes.keys().map(|prefix| prefix.len()).collect();
        self.lengths.sort_unstable_by(|one, other| other.cmp(one));
        self.lengths.dedup();
    }

    fn of(&self, name: &str) -> Option<Level> {
        self.exact.get(name).copied().or_else(|| self.of_prefix(name))
    }

    /// What the longest prefix of `name` says.
    fn of_prefix(&self, name: &str) -> Option<Level> {
        self.lengths.iter().find_map(|length| self.prefixes.get(name.get(..*length)?).copied())
    }
}
