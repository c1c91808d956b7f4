//! HCL, as far as Consul's agents are configured in it: attributes, blocks with labels, lists, objects, strings,
//! heredocs, numbers, comments. What it means is what the JSON of the same shape means: a block is an object, and
//! several of one name are a list. Absent: interpolation and functions, which Consul does not have either.

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Number, Value};

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 32;

/// Reads a file.
///
/// # Errors
/// What is wrong, with the line.
pub(super) fn parse(text: &str) -> Result<Value> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let object = reader.body(None);
    object.map(Value::Object).map_err(|why| {
        let line = text[..reader.at.min(text.len())].matches('\n').count() + 1;
        anyhow!("line {line}: {why}")
    })
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Passes over one character that was looked at.
    fn pass(&mut self) {
        let _ = self.take();
    }

    fn skip(&mut self) -> Result<()> {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            self.at += blank;
            let rest = self.rest();
            let length = if rest.starts_with('#') || rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").ok_or_else(|| anyhow!("a comment is not closed"))? + 2
            } else if blank == 0 {
                return Ok(());
            } else {
                0
            };
            self.at += length;
        }
    }

    /// Attributes and blocks until `end`.
    fn body(&mut self, end: Option<char>) -> Result<Map<String, Value>> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            bail!("nested deeper than {MAX_DEPTH}");
        }
        let mut object = Map::new();
        loop {
            self.skip()?;
            match self.peek() {
                None if end.is_none() => break,
                None => bail!("a block is not closed"),
                Some(next) if Some(next) == end => {
                    self.pass();
                    break;
                }
                Some(',') => self.pass(),
                Some(_) => self.entry(&mut object)?,
            }
        }
        self.depth -= 1;
        Ok(object)
    }

    fn entry(&mut self, object: &mut Map<String, Value>) -> Result<()> {
        let key = self.key()?;
        let mut labels = Vec::new();
        loop {
            self.skip()?;
            match self.peek() {
                Some('=' | ':') => {
                    self.take();
                    let value = self.value()?;
                    object.insert(key, value);
                    return Ok(());
                }
                Some('{') => break,
                Some('"') => labels.push(self.string()?),
                other => bail!("`{key}` is followed by {other:?}, and neither by = nor by {{"),
            }
        }
        self.take();
        let mut block = Value::Object(self.body(Some('}'))?);
        for label in labels.into_iter().rev() {
            block = Value::Object(Map::from_iter([(label, block)]));
        }
        match object.get_mut(&key) {
            None => drop(object.insert(key, block)),
            Some(Value::Array(blocks)) => blocks.push(block),
            Some(one) => {
                let first = one.take();
                *one = Value::Array(vec![first, block]);
            }
        }
        Ok(())
    }

    fn key(&mut self) -> Result<String> {
        if self.peek() == Some('"') {
            return self.string();
        }
        let word = self.word();
        if word.is_empty() { Err(anyhow!("{:?} is no name", self.peek())) } else { Ok(word) }
    }

    fn word(&mut self) -> String {
        let is_part = |c: char| c.is_alphanumeric() || "_-.+".contains(c);
        let length = self.rest().find(|c| !is_part(c)).unwrap_or(self.rest().len());
        let word = self.rest()[..length].to_owned();
        self.at += length;
        word
    }

    fn value(&mut self) -> Result<Value> {
        self.skip()?;
        match self.peek() {
            Some('"') => Ok(Value::String(self.string()?)),
            Some('{') => {
                self.take();
                Ok(Value::Object(self.body(Some('}'))?))
            }
            Some('[') => self.list(),
            Some('<') => self.heredoc(),
            _ => {
                let word = self.word();
                match word.as_str() {
                    "true" => Ok(Value::Bool(true)),
                    "false" => Ok(Value::Bool(false)),
                    "null" => Ok(Value::Null),
                    _ => match word.parse::<i64>().map(Number::from).ok() {
                        Some(number) => Ok(Value::Number(number)),
                        None => word
                            .parse::<f64>()
                            .ok()
                            .and_then(Number::from_f64)
                            .map(Value::Number)
                            .ok_or_else(|| anyhow!("`{word}` is no value")),
                    },
                }
            }
        }
    }

    fn list(&mut self) -> Result<Value> {
        self.take();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            bail!("nested deeper than {MAX_DEPTH}");
        }
        let mut list = Vec::new();
        loop {
            self.skip()?;
            match self.peek() {
                Some(']') => {
                    self.pass();
                    break;
                }
                Some(',') => self.pass(),
                Some(_) => list.push(self.value()?),
                None => bail!("a list is not closed"),
            }
        }
        self.depth -= 1;
        Ok(Value::Array(list))
    }

    fn string(&mut self) -> Result<String> {
        self.take();
        let mut text = String::new();
        loop {
            match self.take() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(match self.take() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some(plain @ ('"' | '\\')) => plain,
                    other => bail!("\\{other:?} in a string means nothing"),
                }),
                Some('\n') | None => bail!("a string is not closed"),
                Some(plain) => text.push(plain),
            }
        }
    }

    /// `<<END`, or `<<-END` whose common indentation does not count.
    fn heredoc(&mut self) -> Result<Value> {
        let (first, rest) = self.rest().split_once('\n').ok_or_else(|| anyhow!("a heredoc is not closed"))?;
        let mark = first.strip_prefix("<<").ok_or_else(|| anyhow!("`<` is no value"))?;
        let (mark, is_indented) = match mark.strip_prefix('-') {
            Some(mark) => (mark.trim(), true),
            None => (mark.trim(), false),
        };
        let (mut lines, mut length) = (Vec::new(), first.len() + 1);
        for line in rest.split_inclusive('\n') {
            length += line.len();
            if line.trim() == mark {
                let written = lines.iter().filter(|line: &&&str| !line.trim().is_empty());
                let common = written.map(|line| indentation(line)).min().filter(|_| is_indented).unwrap_or(0);
                let text: String = lines.iter().map(|line| &line[common.min(indentation(line))..]).collect();
                self.at += length;
                return Ok(Value::String(text));
            }
            lines.push(line);
        }
        bail!("a heredoc is not closed: there is no line `{mark}`")
    }
}

/// Bytes of blanks that a line begins with. Other white space may be longer than a byte, and is text.
fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

/// For fuzzing: any text is read or refused.
pub fn fuzz_hcl(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = parse(text);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_agents_file_is_read() {
        let text = r#"
            # comment
            datacenter = "dc1" // another
            server = true
            ports { http = 8500, dns = -1 }
            retry_join = ["a", "b",]
            service {
              name = "web"
              tags = ["x"]
              check { id = "c", args = ["sh", "-c", "say \"hi\"\n"] }
            }
            service "db" { port = 5432 }
            node_meta = { rack = "r1", "with space" = "x" }
            note = <<-END
              two

                lines
              END
            /* last */
        "#;
        let value = parse(text).unwrap();
        assert_eq!(
            value,
            json!({
                "datacenter": "dc1", "server": true, "ports": { "http": 8500, "dns": -1 }, "retry_join": ["a", "b"],
                "service": [
                    { "name": "web", "tags": ["x"], "check": { "id": "c", "args": ["sh", "-c", "say \"hi\"\n"] } },
                    { "db": { "port": 5432 } },
                ],
                "node_meta": { "rack": "r1", "with space": "x" }, "note": "two\n\n  lines\n",
            })
        );
    }

    #[test]
    fn what_is_none_is_refused_with_its_line() {
        for (bad, line) in
            [("a = ", 1), ("\na {", 2), ("a = [1", 1), ("\n\na b", 3), ("a = \"x", 1), ("a = <<E\nx", 1)]
        {
            let why = parse(bad).unwrap_err().to_string();
            assert!(why.starts_with(&format!("line {line}: ")), "{bad:?}: {why}");
        }
        assert!(parse(&"a {".repeat(100)).is_err() && parse(&format!("a = {}", "[".repeat(10_000))).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(words in proptest::collection::vec(
            proptest::sample::select(vec![
                "a", "=", "{", "}", "[", "]", "\"", "\\", "\n", " ", "1", "-1.5e3", "true", ",", "<<E", "E", "<<-E",
                "/*", "*/", "#", "//", "ü", ":", "\u{a0}",
            ]),
            0..40,
        )) {
            fuzz_hcl(words.concat().as_bytes());
        }
    }
}
