//! Prepared queries: a service asked for under a name of its own, or under every name that begins alike.
//!
//! How a name becomes a query is in [`template`], which instances it then selects in [`select`].

pub mod select;
pub mod template;

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::model::Index;
use crate::snapshot::Snapshot;
use crate::validate::{self, Invalid};

pub use template::{Template, TemplateError};

/// Most tags, ignored checks or datacenters that one query names.
pub const MAX_LIST: usize = 128;

/// A prepared query, as defined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryDef {
    /// Unique everywhere (UUID text), chosen by the proposer.
    pub id: Arc<str>,
    /// Name to ask for it by, or what such names begin with when there is a template; may be empty.
    #[serde(default)]
    pub name: Arc<str>,
    /// Answers to every name that begins with the query's own.
    #[serde(default)]
    pub template: Option<Template>,
    /// Session that it ends with; may be empty.
    #[serde(default)]
    pub session: Arc<str>,
    /// Token that it runs as; may be empty.
    #[serde(default)]
    pub token: Arc<str>,
    /// Service to find.
    pub service: Arc<str>,
    /// How many other datacenters to try, nearest first. Kept for those who read it back: there is one.
    #[serde(default)]
    pub nearest: u32,
    /// Which other datacenters to try then. Likewise.
    #[serde(default)]
    pub datacenters: Vec<Arc<str>>,
    /// Leave out what only passes with a warning.
    #[serde(default)]
    pub only_passing: bool,
    /// Checks that are not looked at.
    #[serde(default)]
    pub ignored_checks: Vec<Arc<str>>,
    /// Node whose instances come first; `_agent` is the one that was asked, `_ip` the one that asks.
    #[serde(default)]
    pub near: Arc<str>,
    /// Tags that an instance must have, or with `!` before it must not.
    #[serde(default)]
    pub tags: Vec<Arc<str>>,
    /// Labels that its node must have.
    #[serde(default)]
    pub node_meta: Labels,
    /// Labels that it must have.
    #[serde(default)]
    pub service_meta: Labels,
    /// Only instances that speak Consul's mesh, of which there are none.
    #[serde(default)]
    pub connect: bool,
    /// How long answers by DNS may be cached, as it was written (`10s`); empty for the usual.
    #[serde(default)]
    pub ttl: Arc<str>,
}

impl QueryDef {
    /// # Errors
    /// [`Invalid`] with the rule that is broken.
    pub fn validate(&self) -> Result<(), Invalid> {
        validate::id("query id", &self.id)?;
        for (what, text) in [("query name", &self.name), ("service name", &self.service)] {
            validate::text(what, text)?;
        }
        let lists = [self.tags.len(), self.ignored_checks.len(), self.datacenters.len()];
        if lists.iter().any(|length| *length > MAX_LIST) {
            let rule = format!("a query names at most {MAX_LIST} tags, checks and datacenters each");
            return Err(Invalid::new("query", &self.id, rule));
        }
        Ok(())
    }

    /// The key that its name is found by: names are the same in any case, as DNS asks for them in any.
    pub(crate) fn key(&self) -> Arc<str> {
        self.name.to_lowercase().into()
    }
}

/// A prepared query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedQuery {
    /// As defined.
    pub def: Arc<QueryDef>,
    /// Index of its creation.
    pub create_index: Index,
    /// Index of its last change.
    pub modify_index: Index,
}

/// Commands on prepared queries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueryCommand {
    /// Creates one; with the id of one that is there and `replace`, replaces it.
    Set {
        /// Definition.
        def: Box<QueryDef>,
        /// It must be there already.
        replace: bool,
    },
    /// Deletes one, which must be there.
    Delete {
        /// Its id.
        id: Arc<str>,
    },
}

/// Every prepared query, by all that it is found by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Queries {
    by_id: OrdMap<Arc<str>, Arc<PreparedQuery>>,
    /// Ids by name in lower case.
    by_name: OrdMap<Arc<str>, Arc<str>>,
    /// The same of templates: by what names begin with.
    templates: OrdMap<Arc<str>, Arc<str>>,
    /// (session, id).
    by_session: OrdSet<(Arc<str>, Arc<str>)>,
}

impl Queries {
    pub(crate) fn insert(&mut self, query: Arc<PreparedQuery>) {
        self.remove(&query.def.id);
        let def = &query.def;
        match &def.template {
            Some(_) => drop(self.templates.insert(def.key(), def.id.clone())),
            None if def.name.is_empty() => {}
            None => drop(self.by_name.insert(def.key(), def.id.clone())),
        }
        if !def.session.is_empty() {
            self.by_session.insert((def.session.clone(), def.id.clone()));
        }
        self.by_id.insert(def.id.clone(), query);
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<Arc<PreparedQuery>> {
        let query = self.by_id.remove(id)?;
        let def = &query.def;
        match &def.template {
            Some(_) => drop(self.templates.remove(&def.key())),
            None => drop(self.by_name.remove(&def.key())),
        }
        self.by_session.remove(&(def.session.clone(), def.id.clone()));
        Some(query)
    }

    /// Id of the query that has a definition's name already, and is another.
    pub(crate) fn namesake(&self, def: &QueryDef) -> Option<&Arc<str>> {
        let names = if def.template.is_some() { &self.templates } else { &self.by_name };
        if def.template.is_none() && def.name.is_empty() {
            return None;
        }
        names.get(&def.key()).filter(|id| **id != def.id)
    }

    /// As if all had come about at `index`.
    pub(crate) fn stamp(&mut self, index: Index) {
        self.by_id = self
            .by_id
            .iter()
            .map(|(id, query)| {
                let create_index = query.create_index.min(index);
                let stamped = PreparedQuery { create_index, modify_index: index, ..(**query).clone() };
                (id.clone(), Arc::new(stamped))
            })
            .collect();
    }

    /// Ids of the queries that end with a session.
    pub(crate) fn of_session(&self, session: &Arc<str>) -> Vec<Arc<str>> {
        let from: (_, Arc<str>) = (session.clone(), "".into());
        let bound = self.by_session.range(from..).take_while(|(s, _)| s == session);
        bound.map(|(_, id)| id.clone()).collect()
    }

    /// The template with the longest beginning of `name`.
    fn template_for(&self, name: &str) -> Option<&Arc<PreparedQuery>> {
        let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]).rev();
        let mut ids = ends.filter_map(|end| self.templates.get(&name[..end]));
        self.by_id.get(ids.next()?)
    }
}

impl Snapshot {
    /// A prepared query by its id.
    pub fn query(&self, id: &str) -> Option<&Arc<PreparedQuery>> {
        self.queries.by_id.get(id)
    }

    /// All prepared queries, by id.
    pub fn queries(&self) -> impl Iterator<Item = &Arc<PreparedQuery>> {
        self.queries.by_id.values()
    }

    /// The query that an id or a name leads to: one of that id, else of that name, else the template with the
    /// longest beginning of it.
    pub fn query_called(&self, id_or_name: &str) -> Option<&Arc<PreparedQuery>> {
        if let Some(query) = self.query(id_or_name) {
            return Some(query);
        }
        let name = id_or_name.to_lowercase();
        match self.queries.by_name.get(name.as_str()) {
            Some(id) => self.query(id),
            None => self.queries.template_for(&name),
        }
    }
}
