//! Relative links in the documents lead somewhere, headings included.

use super::Finding;
use super::tree::Tree;

/// Checks every Markdown file.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".md")) {
        for (line, target) in targets(text) {
            if let Some(why) = broken(tree, path, text, target) {
                findings.push(Finding::new(path, line, format!("link to {target}: {why}")));
            }
        }
    }
    findings
}

/// Targets of inline links, fenced code and code spans left out, with their lines.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for part in line.split('`').step_by(2) {
            let after = part.split("](").skip(1);
            found.extend(after.filter_map(|rest| Some((number + 1, rest.split_once(')')?.0))));
        }
    }
    found
}

fn broken(tree: &Tree, path: &str, text: &str, target: &str) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let destination = if file.is_empty() { path.to_owned() } else { resolve(path, file)? };
    if !tree.exists(&destination) && !destination.is_empty() {
        return Some("no such file");
    }
    let there = if destination == path { Some(text) } else { tree.text(&destination) };
    let known = heading.is_empty() || there.is_some_and(|text| headings(text).any(|slug| slug == heading));
    (!known).then_some("no such heading")
}

/// The path a relative link means; none when it leaves the repository.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Headings as the usual renderers turn them into anchors.
fn headings(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::tree::Tree;

    #[test]
    fn links_are_followed() {
        let text = "[a](b.md#Two) [b](b.md#two-words) [c](../c.txt) [d](gone.md) [e](#here) `[f](no)`\n\
            [g](https://example.org/x)\n# Here\n```\n[h](no)\n```\n";
        let tree = Tree::fixture(&[("docs/a.md", text), ("docs/b.md", "## Two words\n"), ("c.txt", "")]);
        let found: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["docs/a.md:1: link to b.md#Two: no such heading", "docs/a.md:1: link to gone.md: no such file"]
        );
    }
}
