//! What is wrong with a configuration, shown where it stands.

use std::fmt;

use annotate_snippets::{AnnotationKind, Element, Level, Renderer, Snippet};
use serde::Serialize;

use super::tree::Span;

/// Where a wrong value was given.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// In the file.
    File(Span),
    /// In this environment variable.
    Env(String),
    /// In this flag.
    Flag(String),
    /// In no single one.
    Nowhere,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    /// What is wrong, naming the key.
    pub(super) title: String,
    /// What is shown under the marked text.
    pub(super) label: String,
    /// What to do about it.
    pub(super) help: Option<String>,
    pub(super) place: Place,
}

/// A file as it was read, for showing its lines.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

/// Everything that is wrong with a configuration. `Display` shows it without colour.
#[derive(Debug)]
pub struct Problems {
    pub(super) source: Source,
    pub(super) list: Vec<Problem>,
}

/// A problem as data, for `--output json`.
#[derive(Debug, Serialize)]
pub struct ProblemData {
    /// What is wrong.
    pub error: String,
    /// File, where it is in one.
    pub file: Option<String>,
    /// Line in it, from 1.
    pub line: Option<usize>,
    /// Column in it, in characters from 1.
    pub column: Option<usize>,
    /// Environment variable or flag, where it is in one.
    pub given_by: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl Problems {
    /// How many there are, at least one.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// For people: every problem with its line, marked.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let shown = self.list.iter().map(|problem| self.render_one(problem, &renderer));
        shown.collect::<Vec<_>>().join("\n\n")
    }

    fn render_one(&self, problem: &Problem, renderer: &Renderer) -> String {
        let title = match &problem.place {
            Place::File(_) | Place::Nowhere => problem.title.clone(),
            Place::Env(name) => format!("{} (from the environment: {name})", problem.title),
            Place::Flag(name) => format!("{} (from {name})", problem.title),
        };
        let mut elements: Vec<Element<'_>> = Vec::new();
        if let Place::File(span) = &problem.place {
            let mark = AnnotationKind::Primary.span(span.clone()).label(&problem.label);
            let snippet = Snippet::source(&self.source.text).path(&self.source.name).annotation(mark);
            elements.push(snippet.into());
        }
        if let Some(help) = &problem.help {
            elements.push(Level::HELP.message(help).into());
        }
        renderer.render(&[Level::ERROR.primary_title(title).elements(elements)])
    }

    /// The same as data.
    pub fn data(&self) -> Vec<ProblemData> {
        let data = |problem: &Problem| {
            let (line, column) = match &problem.place {
                Place::File(span) => {
                    let (line, column) = line_and_column(&self.source.text, span.start);
                    (Some(line), Some(column))
                }
                _ => (None, None),
            };
            let given_by = match &problem.place {
                Place::Env(name) | Place::Flag(name) => Some(name.clone()),
                _ => None,
            };
            let file = line.map(|_| self.source.name.clone());
            ProblemData {
                error: problem.title.clone(),
                file,
                line,
                column,
                given_by,
                help: problem.help.clone(),
            }
        };
        self.list.iter().map(data).collect()
    }
}

/// Line and column of a byte offset, both from 1.
pub(super) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(at.min(text.len()))];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The candidate that `word` was most likely meant to be; none when nothing is close.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = 1 + word.chars().count() / 4;
    let by_distance = candidates.into_iter().map(|known| (strsim::damerau_levenshtein(word, known), known));
    by_distance.filter(|(distance, _)| *distance <= allowed).min().map(|(_, known)| known)
}
