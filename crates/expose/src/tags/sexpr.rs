//! S-expressions as tags carry them: lists, symbols and integers, each with its column.
//!
//! Read as the Lisp reader reads that Diplonat uses: brackets like parentheses, `;` comments, `.` before a
//! list's tail, `#x50`. What else that reader knows (strings, floats, characters, quotes) is recognised so
//! that it can be refused by its name.

/// Longest tag that is read, in bytes.
const MAX_TAG: usize = 4096;
/// Deepest list.
const MAX_DEPTH: usize = 16;

/// Text that is no expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What is wrong there.
    pub why: String,
}

/// One expression and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Counted in characters from 1.
    pub column: usize,
    /// What it is.
    pub form: Form,
}

/// An expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A list, dotted tails joined.
    List(Vec<Node>),
    /// A name, in its own letter case.
    Symbol(String),
    /// An integer that fits.
    Integer(i64),
    /// Something else, named.
    Other(&'static str),
}

/// Reads exactly one expression.
///
/// # Errors
/// [`SyntaxError`] with the column.
pub fn read(text: &str) -> Result<Node, SyntaxError> {
    if text.len() > MAX_TAG {
        return Err(SyntaxError { column: 1, why: format!("longer than {MAX_TAG} bytes") });
    }
    let mut reader = Reader { chars: text.chars().collect(), at: 0 };
    let node = reader.expression(0)?;
    reader.skip();
    match reader.peek() {
        None => Ok(node),
        Some(extra) => Err(reader.error(format!("\"{extra}\" after the end of the expression"))),
    }
}

struct Reader {
    chars: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn error(&self, why: String) -> SyntaxError {
        SyntaxError { column: self.at + 1, why }
    }

    /// White space and comments.
    fn skip(&mut self) {
        while let Some(c) = self.peek() {
            match c {
                ';' => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                c if c.is_whitespace() => self.at += 1,
                _ => return,
            }
        }
    }

    fn expression(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        self.skip();
        let column = self.at + 1;
        let form = match self.peek() {
            None => return Err(self.error("something is missing here".into())),
            Some('(') => self.list(')', depth)?,
            Some('[') => self.list(']', depth)?,
            Some(c @ (')' | ']')) => return Err(self.error(format!("\"{c}\" closes nothing"))),
            Some('"') => self.string()?,
            Some('\'' | '`' | ',') => return Err(self.error("a quote".into())),
            Some(_) => self.atom(),
        };
        Ok(Node { column, form })
    }

    fn list(&mut self, close: char, depth: usize) -> Result<Form, SyntaxError> {
        if depth >= MAX_DEPTH {
            return Err(self.error(format!("lists nested deeper than {MAX_DEPTH}")));
        }
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.skip();
            match self.peek() {
                None => return Err(self.error(format!("\"{close}\" is missing"))),
                Some(c) if c == close => {
                    self.at += 1;
                    return Ok(Form::List(items));
                }
                Some(c @ (')' | ']')) => return Err(self.error(format!("\"{c}\" where \"{close}\" is due"))),
                Some('.') if self.ends_at(self.at + 1) && !items.is_empty() => {
                    self.at += 1;
                    items.extend(self.tail(close, depth)?);
                    return Ok(Form::List(items));
                }
                Some(_) => items.push(self.expression(depth + 1)?),
            }
        }
    }

    /// After a dot: a list whose items belong to the one around it.
    fn tail(&mut self, close: char, depth: usize) -> Result<Vec<Node>, SyntaxError> {
        let tail = self.expression(depth + 1)?;
        let Form::List(items) = tail.form else {
            return Err(SyntaxError { column: tail.column, why: "a list is due after a dot".into() });
        };
        self.skip();
        if self.peek() != Some(close) {
            return Err(self.error(format!("\"{close}\" is due after a dotted tail")));
        }
        self.at += 1;
        Ok(items)
    }

    fn string(&mut self) -> Result<Form, SyntaxError> {
        let open = self.at;
        loop {
            self.at += 1;
            match self.peek() {
                None => {
                    return Err(SyntaxError { column: open + 1, why: "a quote that is never closed".into() });
                }
                Some('\\') => self.at += 1,
                Some('"') => {
                    self.at += 1;
                    return Ok(Form::Other("quoted text"));
                }
                Some(_) => {}
            }
        }
    }

    fn ends_at(&self, at: usize) -> bool {
        self.chars.get(at).is_none_or(|c| c.is_whitespace() || "()[];\"".contains(*c))
    }

    fn atom(&mut self) -> Form {
        let begin = self.at;
        while !self.ends_at(self.at) {
            self.at += 1;
        }
        let text: String = self.chars[begin..self.at].iter().collect();
        atom(&text)
    }
}

fn atom(text: &str) -> Form {
    let based = |digits: &str, base| match i64::from_str_radix(digits, base) {
        Ok(number) => Form::Integer(number),
        Err(_) => Form::Other("a number that cannot be read"),
    };
    if let Some(rest) = text.strip_prefix('#') {
        let base = match rest.chars().next() {
            Some('x') => 16,
            Some('o') => 8,
            Some('b') => 2,
            Some('d') => 10,
            _ => return Form::Other("a word after #"),
        };
        return based(&rest[1..], base);
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return Form::Symbol(text.to_owned());
    }
    if digits.chars().all(|c| c.is_ascii_digit()) {
        return based(text, 10);
    }
    if text.parse::<f64>().is_ok() {
        Form::Other("a number with a fraction")
    } else {
        Form::Other("a number with letters or signs in it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> String {
        fn show(node: &Node) -> String {
            match &node.form {
                Form::List(items) => format!("({})", items.iter().map(show).collect::<Vec<_>>().join(" ")),
                Form::Symbol(name) => name.clone(),
                Form::Integer(number) => number.to_string(),
                Form::Other(what) => format!("<{what}>"),
            }
        }
        match read(text) {
            Ok(node) => show(&node),
            Err(error) => format!("{}: {}", error.column, error.why),
        }
    }

    #[test]
    fn lists_in_every_spelling() {
        for text in [
            "(a (b 1 2))",
            "[a (b 1 2)]",
            " ( a\n(b 1;two\n 2) ) ; end",
            "(a . ((b . (1 . (2)))))",
            "(a (b 1 2 . ()))",
        ] {
            assert_eq!(shape(text), "(a (b 1 2))", "{text}");
        }
        assert_eq!(shape("(+80 080 #x50 -1 #b11)"), "(80 80 80 -1 3)");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_column() {
        assert_eq!(shape("(a (b 1)"), "9: \")\" is missing");
        assert_eq!(shape("(a) x"), "5: \"x\" after the end of the expression");
        assert_eq!(shape("(a]"), "3: \"]\" where \")\" is due");
        assert_eq!(shape("(a . 1)"), "6: a list is due after a dot");
        assert_eq!(
            shape("(8080-8090 1.5 \"80\" #t)"),
            "(<a number with letters or signs in it> <a number with a fraction> <quoted text> <a word after #>)"
        );
        assert!(shape(&"(".repeat(100)).contains("nested"));
        assert_eq!(shape(""), "1: something is missing here");
        assert_eq!(shape("(\"a"), "2: a quote that is never closed");
    }
}
