//! The seed's flags that take several words each, told apart from the rest of the command line.

use std::ffi::OsString;

/// One of these flags, in the order in which they were written: the first rule that matches decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flag {
    /// With its dashes.
    pub(super) name: &'static str,
    /// What stands behind it.
    pub(super) words: Vec<String>,
}

const NAMES: [&str; 3] = ["--allow", "--deny", "--redirect"];

/// These flags, and everything else in its order.
pub(super) fn split(arguments: Vec<OsString>) -> Result<(Vec<Flag>, Vec<OsString>), String> {
    let (mut flags, mut rest): (Vec<Flag>, Vec<OsString>) = (Vec::new(), Vec::new());
    let mut is_open = false;
    for argument in arguments {
        if let Some(name) = NAMES.into_iter().find(|name| argument == **name) {
            flags.push(Flag { name, words: Vec::new() });
            is_open = true;
        } else if argument.as_encoded_bytes().starts_with(b"-") {
            is_open = false;
            rest.push(argument);
        } else if let (true, Some(flag)) = (is_open, flags.last_mut()) {
            let word = argument.into_string();
            flag.words.push(word.map_err(|word| format!("{} is no text", word.to_string_lossy()))?);
        } else {
            rest.push(argument);
        }
    }
    Ok((flags, rest))
}

/// What stands for everything.
pub(super) const STAR: &str = "*";

/// A service and a URI, also where the shell put the names of the files here in the place of a star; and whether
/// it did. `files` are those that a shell would put there.
pub(super) fn pair(words: &[String], files: &[String]) -> Result<(String, String, bool), String> {
    let star = || STAR.to_owned();
    let is_files = |part: &[String]| !files.is_empty() && same(part, files);
    let ends = words.len().checked_sub(files.len());
    match words {
        _ if words.len() == 2 * files.len()
            && is_files(&words[..files.len()])
            && is_files(&words[files.len()..]) =>
        {
            Ok((star(), star(), true))
        }
        [service, behind @ ..] if is_files(behind) && !behind.iter().any(|word| word.contains(':')) => {
            Ok((service.clone(), star(), true))
        }
        [service, _] if files.len() == 1 && is_files(std::slice::from_ref(service)) => Err(format!(
            "\"{service}\" is the only file here, so it may be a star that the shell replaced: write any in the place \
             of *, or start this elsewhere"
        )),
        [service, uri] => Ok((service.clone(), uri.clone(), false)),
        [.., uri] if ends == Some(1) && is_files(&words[..words.len() - 1]) => {
            Ok((star(), uri.clone(), true))
        }
        _ if words.len() > 2 => Err(format!(
            "a service and a URI belong here, and {} words came: if a star was meant, the shell has replaced it by the \
             names of files; write it in quotes ('*'), or any",
            words.len()
        )),
        _ => Err(
            "a service and a URI belong here, like `authd tls:example.com`, or any in the place of either"
                .to_owned(),
        ),
    }
}

/// The same words, whatever their order: shells sort by rules of their own.
fn same(one: &[String], other: &[String]) -> bool {
    let sorted = |words: &[String]| {
        let mut words = words.to_vec();
        words.sort();
        words
    };
    one.len() == other.len() && sorted(one) == sorted(other)
}

/// What a shell would put in the place of a star here.
pub(super) fn files() -> Vec<String> {
    let names = std::fs::read_dir(".").into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn the_seeds_line_is_told_apart() {
        let line = "--allow in authd tls:example.com --deny in * * --zig /tmp/x --allow out pong \
                    tls:pong.example.com:9000";
        let line = words(line).into_iter().map(OsString::from).collect();
        let (flags, rest) = split(line).unwrap();
        let flag = |name, line| Flag { name, words: words(line) };
        assert_eq!(
            flags,
            [
                flag("--allow", "in authd tls:example.com"),
                flag("--deny", "in * *"),
                flag("--allow", "out pong tls:pong.example.com:9000")
            ]
        );
        assert_eq!(rest, ["--zig", "/tmp/x"]);
    }

    #[test]
    fn a_star_that_the_shell_replaced_is_known_again() {
        let here = words("src Makefile README.md");
        let read = |line: &str| {
            pair(&words(line), &here).map(|(service, uri, was)| format!("{service} {uri} {was}"))
        };
        assert_eq!(read("authd tls:example.com").unwrap(), "authd tls:example.com false");
        assert_eq!(read("* *").unwrap(), "* * false");
        assert_eq!(read("Makefile README.md src Makefile README.md src").unwrap(), "* * true");
        assert_eq!(read("authd Makefile README.md src").unwrap(), "authd * true");
        assert_eq!(read("README.md Makefile src tls:a.b").unwrap(), "* tls:a.b true");
        assert!(read("authd Makefile src").unwrap_err().contains("'*'"));
        assert!(read("authd").unwrap_err().contains("any"));
        assert!(read("").is_err());
    }

    #[test]
    fn where_there_is_one_file_only_what_is_certain_is_taken() {
        let here = words("authd");
        let read = |line: &str| pair(&words(line), &here).map(|(service, uri, _)| format!("{service} {uri}"));
        assert_eq!(read("authd authd").unwrap(), "* *");
        assert_eq!(read("pongd authd").unwrap(), "pongd *");
        assert!(read("authd tls:a.b").unwrap_err().contains("only file"));
        assert_eq!(pair(&words("* *"), &[]), Ok(("*".into(), "*".into(), false)));
    }
}
