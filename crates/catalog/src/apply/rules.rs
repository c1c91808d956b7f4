//! Rules and redirections.

use std::sync::Arc;

use crate::apply::{Topic, Turn};
use crate::command::{Outcome, Refusal};
use crate::intention::{Intention, IntentionCommand, Place};
use crate::model::Index;
use crate::redirection::{self, Redirection, RedirectionCommand};
use crate::rules::Rules;
use crate::validate;

/// Most rules and most redirections: ten times what they are measured with.
const MOST: usize = 100_000;

type Result = std::result::Result<bool, Refusal>;

impl Turn<'_> {
    pub(super) fn intention(&mut self, command: &IntentionCommand) -> Outcome {
        let result = match command {
            IntentionCommand::Put { intention, place, cas } => self.put_intention(intention, place, *cas),
            IntentionCommand::Remove { id, cas } => self.remove_intention(id, *cas),
            IntentionCommand::Replace { intentions, cas } => self.replace_intentions(intentions, *cas),
        };
        result.map_or_else(Outcome::Refused, |changed| Outcome::Done { changed })
    }

    fn change_rules(&mut self) -> &mut Rules {
        self.touched.insert(Topic::Rules);
        let rules = Arc::make_mut(&mut self.state.rules);
        rules.index = self.index;
        rules
    }

    fn put_intention(&mut self, wished: &Intention, place: &Place, cas: Option<Index>) -> Result {
        validate::intention(wished)?;
        let rules = self.state.rules.clone();
        let known = rules.intentions.iter().position(|known| known.id == wished.id);
        let before = known.map(|at| &rules.intentions[at]);
        expect_index(cas, before.map_or(0, |known| known.modify_index))?;
        let intention = self.dated(wished, before.map(|known| &**known));
        let is_same = before.is_some_and(|known| **known == intention);
        let mut list = rules.intentions.clone();
        let from = known.inspect(|at| drop(list.remove(*at)));
        let at = match place {
            Place::Keep => from.unwrap_or(list.len()),
            Place::First => 0,
            Place::Last => list.len(),
            Place::Before(id) => position(list.iter(), id)?,
            Place::After(id) => position(list.iter(), id)? + 1,
        };
        if is_same && from == Some(at) {
            return Ok(false);
        }
        expect_room("rules", list.len())?;
        list.insert(at, Arc::new(intention));
        self.change_rules().intentions = list;
        Ok(true)
    }

    /// The rule as it is kept. One that says what it said before keeps its dates.
    fn dated(&self, wished: &Intention, before: Option<&Intention>) -> Intention {
        let (now_ms, index) = (self.envelope.time_ms, self.index);
        let dated = |created_ms, updated_ms, create_index, modify_index| Intention {
            created_ms,
            updated_ms,
            create_index,
            modify_index,
            ..wished.clone()
        };
        let Some(old) = before else { return dated(now_ms, now_ms, index, index) };
        let kept = dated(old.created_ms, old.updated_ms, old.create_index, old.modify_index);
        if kept == *old { kept } else { dated(old.created_ms, now_ms, old.create_index, index) }
    }

    fn remove_intention(&mut self, id: &str, cas: Option<Index>) -> Result {
        let Some(at) = self.state.rules.intentions.iter().position(|known| &*known.id == id) else {
            return Ok(false);
        };
        expect_index(cas, self.state.rules.intentions[at].modify_index)?;
        self.change_rules().intentions.remove(at);
        Ok(true)
    }

    fn replace_intentions(&mut self, wished: &[Intention], cas: Option<Index>) -> Result {
        expect_index(cas, self.state.rules.index)?;
        expect_room("rules", wished.len().saturating_sub(1))?;
        let mut ids = std::collections::BTreeSet::new();
        for intention in wished {
            validate::intention(intention)?;
            if !ids.insert(&intention.id) {
                return Err(validate::Invalid::new("rule", &intention.id, "two rules have this id").into());
            }
        }
        let known: std::collections::BTreeMap<_, _> =
            self.state.rules.intentions.iter().map(|known| (known.id.clone(), known.clone())).collect();
        let list = wished.iter().map(|w| Arc::new(self.dated(w, known.get(&w.id).map(|known| &**known))));
        let list = list.collect();
        let changed = self.state.rules.intentions != list;
        if changed {
            self.change_rules().intentions = list;
        }
        Ok(changed)
    }

    pub(super) fn redirection(&mut self, command: &RedirectionCommand) -> Outcome {
        let result = match command {
            RedirectionCommand::Put(wished) => self.put_redirection(wished),
            RedirectionCommand::Remove { name } => Ok(self.remove_redirection(name)),
        };
        result.map_or_else(Outcome::Refused, |changed| Outcome::Done { changed })
    }

    fn put_redirection(&mut self, wished: &Redirection) -> Result {
        validate::redirection(wished)?;
        let name: Arc<str> = wished.name.to_ascii_lowercase().into();
        let before = self.state.rules.redirections.get(&name).cloned();
        let (create_index, modify_index) =
            before.as_ref().map_or((self.index, self.index), |old| (old.create_index, old.modify_index));
        let mut kept = Redirection { name: name.clone(), create_index, modify_index, ..wished.clone() };
        if before.as_deref() == Some(&kept) {
            return Ok(false);
        }
        kept.modify_index = self.index;
        let rules = self.state.rules.clone();
        expect_room("redirections", rules.redirections.len() - usize::from(before.is_some()))?;
        let next =
            |at: &str| if at == &*name { Some(&kept) } else { rules.redirections.get(at).map(|r| &**r) };
        if let Some(chain) = redirection::circle(&name, &next) {
            return Err(Refusal::RedirectionCircle { chain });
        }
        self.change_rules().redirections.insert(name, Arc::new(kept));
        Ok(true)
    }

    fn remove_redirection(&mut self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let is_known = self.state.rules.redirections.contains_key(&*name);
        if is_known {
            self.change_rules().redirections.remove(&*name);
        }
        is_known
    }
}

fn expect_index(expected: Option<Index>, actual: Index) -> std::result::Result<(), Refusal> {
    match expected {
        Some(expected) if expected != actual => Err(Refusal::RuleChanged { expected, actual }),
        _ => Ok(()),
    }
}

fn expect_room(what: &'static str, have: usize) -> std::result::Result<(), Refusal> {
    if have < MOST { Ok(()) } else { Err(Refusal::TooManyRules { what, most: MOST }) }
}

fn position<'a>(
    mut list: impl Iterator<Item = &'a Arc<Intention>>,
    id: &Arc<str>,
) -> std::result::Result<usize, Refusal> {
    list.position(|known| known.id == *id).ok_or_else(|| Refusal::UnknownRule(id.clone()))
}
