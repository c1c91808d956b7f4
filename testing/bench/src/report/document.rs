//! `docs/benchmarks.md`: each run replaces the sections of the groups that it ran and leaves the others.

use std::path::Path;

use anyhow::{Context, Result};

use super::notes::Notes;
use super::{Section, table};

const PATH: &str = "docs/benchmarks.md";

const HEAD: &str = "# Benchmarks

Written by `cargo xtask bench`; what stands between the markers is replaced by the next run. Each figure is the
median of the rounds, with the lowest and the highest in brackets. Servers are the release binary and Debian's
packages, driven over their public interfaces, started anew for each round, and taking turns within it. Server
and load generator have processors of their own, which a loop of the lowest scheduling class keeps awake. On a
virtual machine read rates as ±20 % and CPU as ±15 %.

To run it: `cargo xtask bench` for everything, `cargo xtask bench writes` for one group, `--quick` to see that it
works.
";

/// Puts sections into the document.
pub(crate) fn write(root: &Path, sections: &[Section], machine: &str) -> Result<()> {
    let path = root.join(PATH);
    let notes = Notes::read(root)?;
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let old_sections = old.find("<!-- begin ").map_or("", |at| &old[at..]);
    let mut text = format!("{HEAD}\n{old_sections}");
    for section in sections {
        text = replace(&text, section.group, &render(section, &notes, machine));
    }
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

fn markers(group: &str) -> (String, String) {
    (format!("<!-- begin {group} -->\n"), format!("<!-- end {group} -->\n"))
}

/// Puts a section where it was, or at the end.
fn replace(text: &str, group: &str, section: &str) -> String {
    let (begin, end) = markers(group);
    let section = format!("{begin}{section}{end}");
    match (text.find(&begin), text.find(&end)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{section}{}", &text[..from], &text[to + end.len()..])
        }
        _ => format!("{}\n\n{section}", text.trim_end()),
    }
}

/// One group's results for a terminal.
pub(crate) fn show(section: &Section) -> String {
    let facts: String = section.facts.iter().map(|fact| format!("- {fact}\n")).collect();
    format!("{}{facts}", table::render(&section.rows))
}

fn render(section: &Section, notes: &Notes, machine: &str) -> String {
    let mut out = format!("\n## {}\n\n{}\n\n{}\n", section.title, section.how, table::render(&section.rows));
    for fact in &section.facts {
        out += &format!("- {fact}\n");
    }
    for note in notes.of(section.group) {
        out += &format!("- Note: {note}\n");
    }
    out += &format!("- Measured on {machine}.\n\n");
    out
}

#[cfg(test)]
mod tests {
    use super::replace;

    #[test]
    fn a_section_takes_its_own_place() {
        let one = replace("# Head\n", "a", "A1\n");
        let two = replace(&one, "b", "B1\n");
        let three = replace(&two, "a", "A2\n");
        assert!(!three.contains("A1"));
        assert!(three.find("A2").unwrap() < three.find("B1").unwrap());
        assert_eq!(replace(&three, "a", "A2\n"), three);
    }
}
