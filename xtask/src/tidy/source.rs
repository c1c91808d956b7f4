//! Enough of Rust's surface to ask simple questions of a file: what is code and what is a comment or a
//! literal, where functions begin and end, what is compiled for tests only.
//!
//! A full parser would answer more and build slower; nothing here needs types or macros.

use std::ops::Range;

/// One Rust file with comments and literals blanked out, byte for byte, so that offsets and lines agree.
pub(crate) struct Source {
    code: String,
    line_starts: Vec<usize>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Line of the `fn` keyword, 1-based.
    pub(crate) line: usize,
    /// Lines from there to the closing brace, both counted.
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        let code = mask(text);
        let newlines = code.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(newlines).collect();
        Source { code, line_starts }
    }

    /// The line of a byte offset, 1-based.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// Offsets where `word` stands in code, not as part of a longer identifier.
    pub(crate) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code.match_indices(word).map(|(at, _)| at).filter(move |at| {
            let before = self.code[..*at].chars().next_back();
            let after = self.code[at + word.len()..].chars().next();
            !before.is_some_and(is_identifier) && !after.is_some_and(is_identifier)
        })
    }

    /// The code right after an offset, spaces skipped.
    pub(crate) fn after(&self, offset: usize) -> &str {
        self.code[offset..].trim_start()
    }

    /// Functions with bodies, nested ones too.
    pub(crate) fn functions(&self) -> Vec<Function> {
        self.words("fn").filter_map(|at| self.function_at(at)).collect()
    }

    fn function_at(&self, at: usize) -> Option<Function> {
        let rest = self.after(at + 2);
        let name: String = rest.chars().take_while(|c| is_identifier(*c)).collect();
        if name.is_empty() {
            return None; // a function pointer's type
        }
        let open = self.body_start(at + 2)?;
        let close = self.matching_brace(open)?;
        let line = self.line_of(at);
        Some(Function { name, line, lines: self.line_of(close) - line + 1 })
    }

    /// The `{` that opens the item whose header starts at `from`; none when `;` ends it first.
    fn body_start(&self, from: usize) -> Option<usize> {
        let mut depth = 0_i32;
        for (at, byte) in self.code.bytes().enumerate().skip(from) {
            match byte {
                b'(' | b'[' => depth += 1,
                b')' | b']' => depth -= 1,
                b'{' if depth == 0 => return Some(at),
                b';' if depth == 0 => return None,
                _ => {}
            }
        }
        None
    }

    fn matching_brace(&self, open: usize) -> Option<usize> {
        let mut depth = 0_i32;
        for (at, byte) in self.code.bytes().enumerate().skip(open) {
            match byte {
                b'{' => depth += 1,
                b'}' if depth == 1 => return Some(at),
                b'}' => depth -= 1,
                _ => {}
            }
        }
        None
    }

    /// Byte ranges of items under `#[cfg(test)]` that stand in this file.
    pub(crate) fn test_ranges(&self) -> Vec<Range<usize>> {
        let marker = "#[cfg(test)]";
        self.code
            .match_indices(marker)
            .filter_map(|(at, _)| {
                let open = self.body_start(at + marker.len())?;
                Some(at..self.matching_brace(open)?)
            })
            .collect()
    }
}

/// Whether a whole file is test code, by the places where tests live.
pub(crate) fn is_test_file(path: &str) -> bool {
    path.starts_with("testing/")
        || path.contains("/tests/")
        || path.contains("/benches/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
}

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Replaces comments and the insides of literals by spaces, keeping newlines.
fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = at + literal_length(text, at).unwrap_or(0);
        if end > at {
            out.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
            at = end;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// How many bytes of comment or literal start here, if any do.
fn literal_length(text: &str, at: usize) -> Option<usize> {
    let rest = text.as_bytes().get(at..)?;
    match rest {
        [b'/', b'/', ..] => Some(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => Some(block_comment_length(rest)),
        [b'"', ..] => Some(quoted_length(rest, b'"')),
        [b'\'', b'\\', ..] => Some(quoted_length(rest, b'\'')),
        [b'\'', ..] => character_length(text.get(at..)?),
        [b'r', b'"' | b'#', ..] if starts_token(text.as_bytes(), at) => raw_string_length(rest),
        _ => None,
    }
}

fn block_comment_length(rest: &[u8]) -> usize {
    let mut depth = 0_u32;
    let mut at = 0;
    while at < rest.len() {
        match rest.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") if depth == 1 => return at + 2,
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted_length(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `'x'` is a character; `'x` without a quote behind one character is a lifetime.
fn character_length(rest: &str) -> Option<usize> {
    let inside = rest.chars().nth(1)?.len_utf8();
    (rest.as_bytes().get(1 + inside) == Some(&b'\'')).then_some(inside + 2)
}

/// `r` opens a raw string only where no identifier runs into it (`b` and `c` prefixes aside).
fn starts_token(bytes: &[u8], at: usize) -> bool {
    let identifier = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    match at.checked_sub(1).and_then(|before| bytes.get(before)) {
        Some(b'b' | b'c') => !at.checked_sub(2).and_then(|two| bytes.get(two)).is_some_and(identifier),
        Some(before) => !identifier(before),
        None => true,
    }
}

fn raw_string_length(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None; // r#identifier
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = 2 + hashes;
    let end = rest[body..].windows(close.len()).position(|window| window == close)?;
    Some(body + end + close.len())
}

#[cfg(test)]
mod tests {
    use super::{Function, Source, mask};

    #[test]
    fn comments_and_literals_are_blank_and_nothing_moves() {
        let text =
            "let a = \"fn \\\" x\"; // fn\n/* a /* b */ c */ let r = r#\"}\"#; let c = '{'; let l: &'a u8;";
        let masked = mask(text);
        assert_eq!(masked.len(), text.len());
        assert!(!masked.contains("fn") && !masked.contains('}') && !masked.contains('{'));
        assert!(masked.contains("let c") && masked.contains("&'a u8;"));
    }

    #[test]
    fn functions_are_measured_without_being_fooled() {
        let text = "fn one(a: [u8; 4]) -> fn(u8) {\n  let s = \"}\";\n}\ntrait T { fn none(&self); }\n";
        let found = Source::new(text).functions();
        assert_eq!(found, [Function { name: "one".into(), line: 1, lines: 3 }]);
    }

    #[test]
    fn tests_are_found_by_their_attribute() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\n#[cfg(test)]\nmod more;\n";
        let source = Source::new(text);
        let ranges = source.test_ranges();
        assert_eq!(ranges.len(), 1);
        assert_eq!(source.line_of(ranges[0].start), 2);
        assert_eq!(source.line_of(ranges[0].end), 5);
    }

    #[test]
    fn words_are_whole_words() {
        let source = Source::new("unsafe_code unsafe { } not_unsafe // unsafe");
        assert_eq!(source.words("unsafe").collect::<Vec<_>>(), [12]);
    }
}
