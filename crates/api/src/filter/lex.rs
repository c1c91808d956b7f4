//! Text into words.

use crate::filter::Refused;

/// A word with where it begins, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Letters, digits, `_`, `-`, `/`, `:`, and dots between them: a name, a selector's path, a number, a
    /// bare value, or a keyword.
    Word(String),
    /// In double quotes or backticks; never a keyword.
    Quoted(String),
    Equal,
    NotEqual,
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    Dot,
    End,
}

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Refused> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        if next.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let (kind, length) = token(&text[at..], next).map_err(|what| Refused { at: at + 1, what })?;
        tokens.push(Token { at, kind });
        at += length;
    }
    tokens.push(Token { at: text.len(), kind: Kind::End });
    Ok(tokens)
}

fn token(rest: &str, first: char) -> Result<(Kind, usize), String> {
    let two = |kind| match rest.as_bytes().get(1) {
        Some(b'=') => Ok((kind, 2)),
        _ => Err(format!("{first:?} must be followed by '=': comparisons are == and !=")),
    };
    match first {
        '(' => Ok((Kind::Open, 1)),
        ')' => Ok((Kind::Close, 1)),
        '[' => Ok((Kind::OpenBracket, 1)),
        ']' => Ok((Kind::CloseBracket, 1)),
        '.' => Ok((Kind::Dot, 1)),
        '=' => two(Kind::Equal),
        '!' => two(Kind::NotEqual),
        '`' => raw(rest),
        '"' => quoted(rest),
        _ if is_word(first) => {
            let length = rest.find(|c: char| !is_word(c) && c != '.').unwrap_or(rest.len());
            let word = rest[..length].trim_end_matches('.');
            Ok((Kind::Word(word.to_owned()), word.len()))
        }
        other => Err(format!("{other:?} is not expected here; put values with such characters in quotes")),
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | ':')
}

fn raw(rest: &str) -> Result<(Kind, usize), String> {
    let length = rest[1..].find('`').ok_or("the closing backtick is missing")?;
    Ok((Kind::Quoted(rest[1..=length].to_owned()), length + 2))
}

fn quoted(rest: &str) -> Result<(Kind, usize), String> {
    let mut value = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Kind::Quoted(value), at + 1)),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, c @ ('"' | '\\'))) => value.push(c),
                // A regular expression's own escapes are kept, as people write them without doubling.
                Some((_, c)) => value.extend(['\\', c]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err("the closing quote is missing".to_owned())
}
