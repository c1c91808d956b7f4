//! Flags as Go's flag package reads them: `-name value`, `-name=value`, one dash or two, until the first word
//! that is none or `--`.

use anyhow::{Result, bail};

/// Flags with their values, in order, and what came after.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    given: Vec<(String, String)>,
    /// Words behind the flags.
    pub(super) rest: Vec<String>,
}

impl Flags {
    /// Reads flags that have a value, and switches that may have one.
    pub(super) fn read(arguments: &[&str], values: &[&str], switches: &[&str]) -> Result<Flags> {
        let mut flags = Flags::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or_default();
            if name.is_empty() {
                // `-` alone is a word and stands for standard input; `--` ends the flags.
                flags.rest.extend((*word != "--").then(|| (*word).to_owned()));
                break;
            }
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (name, None),
            };
            let value = match (switches.contains(&name), values.contains(&name), value) {
                (true, _, value) => value.unwrap_or("true"),
                (_, true, Some(value)) => value,
                (_, true, None) => match words.next() {
                    Some(value) => value,
                    None => bail!("flag needs an argument: -{name}"),
                },
                _ => bail!("flag provided but not defined: -{name}"),
            };
            flags.given.push((name.to_owned(), value.to_owned()));
        }
        flags.rest.extend(words.map(|word| (*word).to_owned()));
        Ok(flags)
    }

    /// The last value of a flag.
    pub(super) fn last(&self, name: &str) -> Option<&str> {
        self.given.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a flag, in order.
    pub(super) fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.given.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Every flag that was given.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.given.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// True when a switch is on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.last(name).is_some_and(|value| matches!(value, "true" | "1" | "t" | "T" | "TRUE" | "True"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_as_go_reads_them() {
        let flags = Flags::read(
            &["-name", "a", "--name=b", "-dev", "-ui=false", "key", "-not-a-flag"],
            &["name"],
            &["dev", "ui"],
        );
        let flags = flags.unwrap();
        assert_eq!((flags.last("name"), flags.all("name").count()), (Some("b"), 2));
        assert!(flags.is_on("dev") && !flags.is_on("ui"));
        assert_eq!(flags.rest, ["key", "-not-a-flag"]);
        assert!(Flags::read(&["-nope"], &[], &[]).is_err());
        assert!(Flags::read(&["-name"], &["name"], &[]).is_err());
        assert_eq!(Flags::read(&["-", "x"], &[], &[]).unwrap().rest, ["-", "x"]);
        assert_eq!(Flags::read(&["--", "-x"], &[], &[]).unwrap().rest, ["-x"]);
    }
}
