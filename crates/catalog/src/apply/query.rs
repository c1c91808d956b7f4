//! Prepared queries come and go, by wish or with their session.

use std::sync::Arc;

use crate::apply::{Topic, Turn};
use crate::command::{Outcome, Refusal};
use crate::query::{PreparedQuery, QueryCommand, QueryDef};

impl Turn<'_> {
    pub(super) fn query(&mut self, command: &QueryCommand) -> Outcome {
        let result = match command {
            QueryCommand::Set { def, replace } => self.set_query(def, *replace),
            QueryCommand::Delete { id } => match self.state.queries.remove(id) {
                Some(_) => Ok(true),
                None => Err(Refusal::UnknownQuery(id.clone())),
            },
        };
        match result {
            Ok(changed) => {
                if changed {
                    self.touch_queries();
                }
                Outcome::Done { changed }
            }
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    fn set_query(&mut self, def: &QueryDef, replace: bool) -> Result<bool, Refusal> {
        def.validate()?;
        let before = self.state.query(&def.id);
        if replace && before.is_none() {
            return Err(Refusal::UnknownQuery(def.id.clone()));
        }
        if before.is_some_and(|before| *before.def == *def) {
            return Ok(false);
        }
        if self.state.queries.namesake(def).is_some() || self.state.query(&def.name).is_some() {
            return Err(Refusal::QueryName { name: def.name.clone(), is_template: def.template.is_some() });
        }
        if !def.session.is_empty() && self.state.session(&def.session).is_none() {
            return Err(Refusal::UnknownSession(def.session.clone()));
        }
        let create_index = before.map_or(self.index, |before| before.create_index);
        let def = Arc::new(def.clone());
        self.state.queries.insert(Arc::new(PreparedQuery { def, create_index, modify_index: self.index }));
        Ok(true)
    }

    /// Queries that are bound to a session go with it.
    pub(super) fn end_queries_of(&mut self, session: &Arc<str>) {
        for id in self.state.queries.of_session(session) {
            self.state.queries.remove(&id);
            self.touch_queries();
        }
    }

    fn touch_queries(&mut self) {
        self.state.tables.queries = self.index;
        self.touched.insert(Topic::Queries);
    }
}
