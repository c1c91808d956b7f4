//! HCL's words.

use super::Refused;

/// One word, with the line that it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Name(String),
    Text(String),
    Number(String),
    /// `{ } [ ] = ,`
    Mark(char),
}

/// Cuts a text into words.
pub(super) struct Lexer<'a> {
    rest: &'a str,
    pub(super) line: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { rest: text, line: 1 }
    }

    pub(super) fn wrong(&self, what: impl Into<String>) -> Refused {
        Refused::Syntax { line: self.line, what: what.into() }
    }

    /// The next word; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Token>, Refused> {
        self.skip()?;
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        Ok(Some(match first {
            '{' | '}' | '[' | ']' | '=' | ',' => {
                self.take(1);
                Token::Mark(first)
            }
            '"' => Token::Text(self.string()?),
            '<' if self.rest.starts_with("<<") => Token::Text(self.heredoc()?),
            '0'..='9' | '-' | '+' => {
                Token::Number(self.while_in(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)))
            }
            c if c.is_alphabetic() || c == '_' => {
                Token::Name(self.while_in(|c| c.is_alphanumeric() || "_-.".contains(c)))
            }
            other => return Err(self.wrong(format!("{other:?} is not expected"))),
        }))
    }

    /// Takes `count` bytes, which end at a character.
    fn take(&mut self, count: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(count);
        self.line += taken.bytes().filter(|byte| *byte == b'\n').count();
        self.rest = rest;
        taken
    }

    fn while_in(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        self.take(end).to_owned()
    }

    /// Spaces and comments.
    fn skip(&mut self) -> Result<(), Refused> {
        loop {
            let end =
                self.rest.find(|c: char| !c.is_whitespace() && c != '\u{feff}').unwrap_or(self.rest.len());
            self.take(end);
            if self.rest.starts_with('#') || self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.take(end);
            } else if self.rest.starts_with("/*") {
                let end = self.rest.find("*/").ok_or_else(|| self.wrong("a comment does not end"))?;
                self.take(end + 2);
            } else {
                return Ok(());
            }
        }
    }

    fn string(&mut self) -> Result<String, Refused> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.take(at + 1);
                    return Ok(text);
                }
                '\n' => return Err(self.wrong("a string does not end in its line")),
                '\\' => {
                    let escape = chars.next().map(|(_, c)| c);
                    let digits = match escape {
                        Some('u') => 4,
                        Some('U') => 8,
                        _ => 0,
                    };
                    let code: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                    text.push(escaped(escape, &code).ok_or_else(|| self.wrong("no such escape"))?);
                }
                other => text.push(other),
            }
        }
        Err(self.wrong("a string does not end"))
    }

    /// `<<END`, lines, `END`; with `<<-` the lines may be indented.
    fn heredoc(&mut self) -> Result<String, Refused> {
        let end = self.rest.find('\n').ok_or_else(|| self.wrong("a heredoc has no lines"))?;
        let first = self.take(end + 1);
        let mark = first.trim_start_matches('<').trim();
        let (mark, is_indented) = mark.strip_prefix('-').map_or((mark, false), |mark| (mark, true));
        if mark.is_empty() {
            return Err(self.wrong("a heredoc has no end mark"));
        }
        let mut text = String::new();
        while !self.rest.is_empty() {
            let end = self.rest.find('\n').map_or(self.rest.len(), |at| at + 1);
            let line = self.take(end);
            if line.trim() == mark {
                return Ok(text);
            }
            text.push_str(if is_indented { line.trim_start_matches([' ', '\t']) } else { line });
        }
        Err(self.wrong("a heredoc does not end"))
    }
}

fn escaped(escape: Option<char>, code: &str) -> Option<char> {
    Some(match escape? {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '"' => '"',
        '\\' => '\\',
        'u' | 'U' => char::from_u32(u32::from_str_radix(code, 16).ok()?)?,
        _ => return None,
    })
}
