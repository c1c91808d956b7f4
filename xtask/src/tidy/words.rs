//! Words that have no business in the repository, listed in `words.toml`.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Finding;
use super::tree::Tree;

const PATH: &str = "xtask/words.toml";

/// What may hold them: the list, this file's tests, and what Cargo writes.
const FREE: [&str; 3] = [PATH, "xtask/src/tidy/words.rs", "Cargo.lock"];

/// The list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    words: Vec<Word>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    /// Lower case; `#` stands for one or more digits. No word inside a longer one is meant where the text
    /// begins and ends with letters.
    text: String,
    why: String,
}

impl List {
    pub(crate) fn read(tree: &Tree) -> Result<Self> {
        toml::from_str(tree.need(PATH)?).with_context(|| format!("read {PATH}"))
    }
}

/// Every text file.
pub(crate) fn check(list: &List, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| !FREE.contains(path)) {
        for (number, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            for word in list.words.iter().filter(|word| contains(&line, &word.text)) {
                findings.push(Finding::new(path, number + 1, format!("\"{}\": {}", word.text, word.why)));
            }
        }
    }
    findings
}

fn contains(line: &str, pattern: &str) -> bool {
    line.char_indices().any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let runs_in = |edge: Option<char>, next: Option<char>| {
            edge.is_some_and(char::is_alphanumeric) && next.is_some_and(char::is_alphanumeric)
        };
        !runs_in(pattern.chars().next(), before)
            && matched(&line[at..], pattern)
                .is_some_and(|rest| !runs_in(pattern.chars().next_back(), rest.chars().next()))
    })
}

/// What follows the pattern, when the line starts with it.
fn matched<'a>(line: &'a str, pattern: &str) -> Option<&'a str> {
    match pattern.split_once('#') {
        None => line.strip_prefix(pattern),
        Some((head, tail)) => {
            let rest = line.strip_prefix(head)?;
            let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            if after.len() == rest.len() { None } else { matched(after, tail) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{List, check, contains};
    use crate::tidy::tree::Tree;

    #[test]
    fn patterns_are_whole_words_with_digits() {
        assert!(contains("see issue 12.", "issue #"));
        assert!(!contains("see issue x", "issue #"));
        assert!(!contains("reissue 12", "issue #"));
        assert!(contains("in /work/main", "/work/"));
        assert!(!contains("he has an airplane", "as an ai"));
    }

    #[test]
    fn a_word_is_found_with_its_line() {
        let list: List = toml::from_str("words = [{ text = '/work/', why = 'w' }]").unwrap();
        let found =
            check(&list, &Tree::fixture(&[("a.md", "x\nin /WORK/x\n"), ("xtask/words.toml", "/work/")]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
    }
}
