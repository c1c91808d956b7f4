//! Scores of other people's suites: what passes, what does not and why, and what may never pass again less.
//!
//! A file in `scores/` for each suite says what is expected of it. A run that falls below the floor fails. The floor is
//! a little below what passes, because other people's tests have clocks of their own and hosts are busy. With
//! `PORTOLAN_SCORES=write` a run writes down its counts, every failure needs a reason, and `docs/compatibility.md` is
//! written from all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What is expected of a suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// For people: what it is, and its version.
    pub title: String,
    /// How it is run here.
    pub command: String,
    /// Passed in the run that was written down.
    pub passed: usize,
    /// Of so many.
    pub total: usize,
    /// Fewer than this are a step back.
    pub floor: usize,
    /// Why tests do not pass: reason to names.
    pub reasons: BTreeMap<String, BTreeSet<String>>,
}

/// Whether each test passed, by name.
pub type Outcomes = BTreeMap<String, bool>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scores")
}

fn is_writing() -> bool {
    std::env::var_os("PORTOLAN_SCORES").is_some_and(|word| word == "write")
}

fn read(path: &Path) -> std::io::Result<Score> {
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

/// Holds a run of the suite of that name to what is expected of it.
///
/// # Errors
/// What is worse than expected.
pub fn hold(suite: &str, outcomes: &Outcomes) -> Result<(), Box<dyn std::error::Error>> {
    let path = folder().join(format!("{suite}.json"));
    let mut score = read(&path)?;
    let passed = outcomes.values().filter(|passed| **passed).count();
    let known: BTreeSet<&String> = score.reasons.values().flatten().collect();
    let failed = outcomes.iter().filter(|(_, passed)| !**passed).map(|(name, _)| name);
    let news: Vec<&String> = failed.filter(|name| !known.contains(name)).collect();
    println!("{}: {passed} of {} passed, {} did before", score.title, outcomes.len(), score.passed);
    if is_writing() {
        (score.passed, score.total) = (passed, outcomes.len());
        for names in score.reasons.values_mut() {
            names.retain(|name| outcomes.get(name) == Some(&false));
        }
        score.reasons.retain(|_, names| !names.is_empty());
        std::fs::write(path, serde_json::to_string_pretty(&score)? + "\n")?;
    }
    news.iter().for_each(|name| println!("{name} failed, and nobody says why"));
    if is_writing() && !news.is_empty() {
        return Err(format!("give a reason for each in scores/{suite}.json: {news:#?}").into());
    }
    match passed >= score.floor {
        true => Ok(()),
        false => Err(format!("{passed} passed, and the floor is {}", score.floor).into()),
    }
}

/// `docs/compatibility.md` as the scores say it; writes it when asked to.
///
/// # Errors
/// A score that cannot be read; a document that says something else.
pub fn hold_document() -> Result<(), Box<dyn std::error::Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compatibility.md");
    let wanted = document()?;
    if is_writing() {
        std::fs::write(&path, &wanted)?;
    }
    match std::fs::read_to_string(&path)? == wanted {
        true => Ok(()),
        false => Err("docs/compatibility.md is not what testing/conformance/scores say; run this with \
                      PORTOLAN_SCORES=write"
            .into()),
    }
}

fn document() -> Result<String, Box<dyn std::error::Error>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder())?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    let scores: Vec<Score> = files.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
    let mut text = String::from(
        "# Suites of others\n\nWritten by the runs themselves (`testing/conformance/scores`); a test holds this page \
         to them, and a run that\nfalls below its floor fails. How Consul's clients \
         are served is in\n[consul.md](consul.md).\n\n| suite | passed | of | floor |\n|---|---|---|---|\n",
    );
    for score in &scores {
        writeln!(text, "| {} | {} | {} | {} |", score.title, score.passed, score.total, score.floor)?;
    }
    for score in &scores {
        write!(text, "\n## {}\n\n```sh\n{}\n```\n", score.title, score.command)?;
        if !score.reasons.is_empty() {
            text.push_str("\n| why not | tests |\n|---|---|\n");
        }
        for (reason, names) in &score.reasons {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            writeln!(text, "| {reason} ({}) | {} |", names.len(), names.join(", "))?;
        }
    }
    Ok(text)
}
