//! Default, file, environment, flags: one laid over the other, each value remembering who gave it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::problem::{Place, Problem, Source, line_and_column, nearest};
use super::tree::{Field, Kind, Tree};

/// Who gave a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: it is the default.
    Default,
    /// A file.
    File {
        /// Its name as it was given.
        name: String,
        /// Line, from 1.
        line: usize,
    },
    /// An environment variable.
    Env(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { name, line } => write!(f, "{name}:{line}"),
            Origin::Env(name) => write!(f, "env {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

type Path = Vec<String>;

/// The value so far, with origins for whatever is not a default.
pub(super) struct Layers {
    defaults: Value,
    merged: Value,
    origins: BTreeMap<Path, Origin>,
    file: Option<(Source, Tree)>,
    pub(super) problems: Vec<Problem>,
}

impl Layers {
    pub(super) fn new(defaults: Value) -> Layers {
        let merged = defaults.clone();
        Layers { defaults, merged, origins: BTreeMap::new(), file: None, problems: Vec::new() }
    }

    /// Lays a file over what is there.
    pub(super) fn put_file(&mut self, source: Source, tree: Tree) {
        let defaults = self.defaults.clone();
        self.put_tree(&source, &defaults, &tree, &mut Vec::new());
        self.file = Some((source, tree));
    }

    fn put_tree(&mut self, source: &Source, known: &Value, tree: &Tree, path: &mut Path) {
        match (&tree.kind, known) {
            (Kind::Table(fields), Value::Object(known)) if !is_free(known, path) => {
                for field in fields {
                    path.push(field.name.clone());
                    match known.get(&field.name) {
                        Some(known) => self.put_tree(source, known, &field.tree, path),
                        None => self.unknown_in_file(known, field, path),
                    }
                    path.pop();
                }
            }
            _ => {
                let (line, _) = line_and_column(&source.text, tree.span.start);
                self.put(path, tree.value(), Origin::File { name: source.name.clone(), line });
            }
        }
    }

    fn unknown_in_file(&mut self, known: &Map<String, Value>, field: &Field, path: &Path) {
        let help = self.suggest(known, path);
        self.problems.push(Problem {
            title: format!("unknown key `{}`", path.join(".")),
            label: "nobody reads this".into(),
            help,
            place: Place::File(field.span.clone()),
        });
    }

    /// The nearest key at the same place, else the same key in another section.
    fn suggest(&self, known: &Map<String, Value>, path: &Path) -> Option<String> {
        let name = path.last()?;
        if let Some(key) = nearest(name, known.keys().map(String::as_str)) {
            return Some(format!("did you mean `{key}`?"));
        }
        let Value::Object(sections) = &self.defaults else { return None };
        let section = sections.iter().find(|(_, keys)| keys.get(name).is_some());
        let elsewhere = section.map(|(section, _)| format!("there is such a key in [{section}]"));
        elsewhere.or_else(|| {
            let keys: Vec<_> = known.keys().map(|key| format!("`{key}`")).collect();
            Some(format!("known here: {}", keys.join(", ")))
        })
    }

    /// Lays one value, given as text outside a file, over what is there.
    pub(super) fn put_text(&mut self, path: Path, text: &str, origin: Origin) {
        let place = place_of(&origin);
        let mut known = &self.defaults;
        for (depth, step) in path.iter().enumerate() {
            match known {
                Value::Object(keys) if !is_free(keys, &path[..depth]) => match keys.get(step) {
                    Some(next) => known = next,
                    None => {
                        let title = format!("unknown key `{}`", path[..=depth].join("."));
                        let help = self.suggest(keys, &path[..=depth].to_vec());
                        return self.problems.push(Problem { title, label: String::new(), help, place });
                    }
                },
                _ => known = &Value::Null,
            }
        }
        let value = read_as(known, text);
        self.put(&path, value, origin);
    }

    fn put(&mut self, path: &[String], value: Value, origin: Origin) {
        let mut at = &mut self.merged;
        for step in path {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            let Value::Object(keys) = at else { return };
            at = keys.entry(step).or_insert(Value::Null);
        }
        *at = value;
        // Whatever an earlier layer said below this path is gone.
        self.origins.retain(|known, _| !(known.starts_with(path)));
        self.origins.insert(path.to_vec(), origin);
    }

    /// The typed configuration; problems are added to the list.
    pub(super) fn read<C: DeserializeOwned>(&mut self) -> Option<C> {
        match serde_path_to_error::deserialize(&self.merged) {
            Ok(config) => Some(config),
            Err(cause) => {
                let path: Path = cause.path().iter().filter_map(step).collect();
                let problem = self.misfit(&path, &cause.inner().to_string());
                self.problems.push(problem);
                None
            }
        }
    }

    fn misfit(&self, path: &Path, message: &str) -> Problem {
        let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
        let place = match (self.origin(path), &self.file) {
            (Origin::File { .. }, Some((_, tree))) => Place::File(tree.place(path, unknown.is_some())),
            (origin, _) => place_of(&origin),
        };
        let shown = show_path(path);
        let Some((field, expected)) = unknown else {
            let title = if path.is_empty() { message.to_owned() } else { format!("`{shown}`: {message}") };
            return Problem { title, label: "this value".into(), help: None, place };
        };
        // serde names what it expected in backquotes.
        let known: Vec<_> = expected.split('`').skip(1).step_by(2).collect();
        let help = match nearest(field, known.iter().copied()) {
            Some(key) => format!("did you mean `{key}`?"),
            None => format!("known here: `{}`", known.join("`, `")),
        };
        let title = format!("unknown key `{shown}`");
        Problem { title, label: "nobody reads this".into(), help: Some(help), place }
    }

    /// Who gave the value at `path`: the longest known beginning of it decides.
    fn origin(&self, path: &[String]) -> Origin {
        let found = (0..=path.len()).rev().find_map(|end| self.origins.get(&path[..end]));
        found.cloned().unwrap_or(Origin::Default)
    }

    /// Every setting in effect, by key.
    pub(super) fn settings(&self) -> BTreeMap<String, (Value, Origin)> {
        let mut all = BTreeMap::new();
        self.collect(&self.merged, &mut Vec::new(), &mut all);
        all
    }

    fn collect(&self, value: &Value, path: &mut Path, all: &mut BTreeMap<String, (Value, Origin)>) {
        match value {
            Value::Object(keys) if !keys.is_empty() => {
                for (key, value) in keys {
                    path.push(key.clone());
                    self.collect(value, path, all);
                    path.pop();
                }
            }
            _ => {
                all.insert(path.join("."), (value.clone(), self.origin(path)));
            }
        }
    }

    pub(super) fn into_source(self) -> (Source, Vec<Problem>) {
        (self.file.map(|(source, _)| source).unwrap_or_default(), self.problems)
    }
}

/// A table whose keys are the user's own. Defaults show it empty; the root never is.
fn is_free(known: &Map<String, Value>, path: &[String]) -> bool {
    known.is_empty() && !path.is_empty()
}

fn place_of(origin: &Origin) -> Place {
    match origin {
        Origin::Env(name) => Place::Env(name.clone()),
        Origin::Flag(name) => Place::Flag(name.clone()),
        Origin::Default | Origin::File { .. } => Place::Nowhere,
    }
}

fn step(segment: &serde_path_to_error::Segment) -> Option<String> {
    use serde_path_to_error::Segment;
    match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

fn show_path(path: &[String]) -> String {
    let mut shown = String::new();
    for step in path {
        match step.parse::<usize>() {
            Ok(index) => shown.push_str(&format!("[{index}]")),
            Err(_) if shown.is_empty() => shown.push_str(step),
            Err(_) => shown.push_str(&format!(".{step}")),
        }
    }
    shown
}

/// Text from outside a file as the kind of value that the default is. What does not read stays text: the
/// type that wants it says what is wrong.
fn read_as(known: &Value, text: &str) -> Value {
    let toml = || {
        let table: toml::Table = format!("value = {text}").parse().ok()?;
        serde_json::to_value(table.get("value")?).ok()
    };
    let as_text = || Value::String(text.to_owned());
    match known {
        Value::String(_) => as_text(),
        Value::Array(_) if !text.trim_start().starts_with('[') => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.map(|item| Value::String(item.to_owned())).collect()
        }
        _ => toml().unwrap_or_else(as_text),
    }
}
