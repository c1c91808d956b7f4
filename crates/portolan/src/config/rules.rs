//! `[[rules]]`: who may reach what, on this node alone. Asked before those of the cluster.

use std::sync::Arc;

use catalog::{Action, Direction, Intention, Origin, Source, validate};
use serde::{Deserialize, Serialize};

/// One rule, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Rule {
    /// What it says.
    pub action: Action,
    /// Whose connections it is about, in the words of `portolan allow`.
    pub source: String,
    /// The service, or `any`.
    pub service: String,
    /// By what they come; unset: by anything.
    pub scheme: Option<Arc<str>>,
    /// Which way they go; unset: either.
    pub direction: Option<Direction>,
    /// Why, for people.
    pub note: String,
    /// File and line.
    #[serde(skip)]
    origin: Option<Origin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    action: Action,
    source: String,
    service: String,
    #[serde(default)]
    scheme: Option<Arc<str>>,
    #[serde(default)]
    direction: Option<Direction>,
    #[serde(default)]
    note: String,
}

impl TryFrom<Written> for Rule {
    type Error = String;

    fn try_from(written: Written) -> Result<Rule, String> {
        let Written { action, source, service, scheme, direction, note } = written;
        let rule = Rule { action, source, service, scheme, direction, note, origin: None };
        rule.intention(0).map(|_| rule)
    }
}

impl Rule {
    /// The rule as it is asked. `at` is its place, which makes its id.
    ///
    /// # Errors
    /// What cannot be meant, in words.
    pub fn intention(&self, at: usize) -> Result<Intention, String> {
        let source = Source::parse(&self.source).map_err(|invalid| invalid.to_string())?;
        let service = if self.service == "any" { "*" } else { &self.service };
        let mut intention = Intention::new(self.action, source, service);
        intention.scheme = self.scheme.clone();
        intention.direction = self.direction;
        intention.note = self.note.as_str().into();
        intention.origin = self.origin.clone();
        intention.id = format!("configured-{}", at + 1).into();
        validate::intention(&intention).map_err(|invalid| invalid.to_string())?;
        Ok(intention)
    }
}

/// Notes where each rule stands in the text of a file. Where there are more or fewer than it writes in tables of their own,
/// they came from elsewhere, and nothing is noted.
pub(super) fn note_places(rules: &mut [Rule], file: &str, text: &str) {
    let heads =
        (1..).zip(text.lines()).filter(|(_, line)| line.trim().replace(' ', "").starts_with("[[rules]]"));
    let lines: Vec<u32> = heads.map(|(number, _)| number).collect();
    if lines.len() == rules.len() {
        for (rule, line) in rules.iter_mut().zip(lines) {
            rule.origin = Some(Origin { file: file.into(), line });
        }
    }
}
