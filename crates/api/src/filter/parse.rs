//! Words into an expression, checked against the fields of what will be filtered.

use regex_lite::{Regex, RegexBuilder};

use crate::filter::eval::boolean;
use crate::filter::fields::{Found, find};
use crate::filter::lex::{Kind, Token, tokens};
use crate::filter::{
    Expression, Fields, MAX_BYTES, MAX_DEPTH, MAX_MATCHES, Match, REGEX_LIMITS, Refused, Test, Value,
};

/// Reads an expression about items like `sample`.
pub(super) fn expression(text: &str, sample: &dyn Fields) -> Result<Expression, Refused> {
    if text.len() > MAX_BYTES {
        return Err(Refused { at: MAX_BYTES, what: format!("longer than {MAX_BYTES} bytes") });
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, matches: 0, sample };
    let expression = parser.any(0)?;
    match parser.peek().kind {
        Kind::End => Ok(expression),
        Kind::Close => Err(parser.refuse("there is no opening parenthesis for this one")),
        _ => Err(parser.refuse("expected \"and\", \"or\" or the end")),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    matches: usize,
    sample: &'a dyn Fields,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> &'a Token {
        // The last token is `End` and is never passed.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> &'a Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn refuse(&self, what: impl Into<String>) -> Refused {
        Refused { at: self.peek().at + 1, what: what.into() }
    }

    /// Takes a keyword if it comes next, in any case.
    fn takes(&mut self, keyword: &str) -> bool {
        let is_next = matches!(&self.peek().kind, Kind::Word(word) if word.eq_ignore_ascii_case(keyword));
        self.at += usize::from(is_next);
        is_next
    }

    fn any(&mut self, depth: usize) -> Result<Expression, Refused> {
        let mut terms = vec![self.all(depth)?];
        while self.takes("or") {
            terms.push(self.all(depth)?);
        }
        Ok(single(terms, Expression::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expression, Refused> {
        let mut factors = vec![self.factor(depth)?];
        while self.takes("and") {
            factors.push(self.factor(depth)?);
        }
        Ok(single(factors, Expression::All))
    }

    fn factor(&mut self, depth: usize) -> Result<Expression, Refused> {
        if depth > MAX_DEPTH {
            return Err(self.refuse(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        if self.takes("not") {
            return Ok(Expression::Not(Box::new(self.factor(depth + 1)?)));
        }
        if self.peek().kind != Kind::Open {
            return self.comparison().map(Expression::Match);
        }
        self.next();
        let inner = self.any(depth + 1)?;
        match self.next().kind {
            Kind::Close => Ok(inner),
            _ => {
                self.at -= 1;
                Err(self.refuse("the closing parenthesis is missing"))
            }
        }
    }

    fn comparison(&mut self) -> Result<Match, Refused> {
        self.matches += 1;
        if self.matches > MAX_MATCHES {
            return Err(self.refuse(format!("more than {MAX_MATCHES} comparisons")));
        }
        let start = self.at;
        let first = self.next();
        if !matches!(first.kind, Kind::Word(_) | Kind::Quoted(_)) {
            self.at = start;
            return Err(self.refuse("expected a selector or a value"));
        }
        if let Some(found) = self.membership(first)? {
            return Ok(found);
        }
        self.at = start;
        let (place, path) = self.selector()?;
        let (test, negated) = self.test()?;
        self.checked(place, Match { path, test, negated })
    }

    /// `value [not] in selector`, if that is what follows `value`.
    fn membership(&mut self, value: &Token) -> Result<Option<Match>, Refused> {
        let before = self.at;
        let negated = self.takes("not");
        if !self.takes("in") {
            self.at = before;
            return Ok(None);
        }
        let (Kind::Word(value) | Kind::Quoted(value)) = &value.kind else { return Ok(None) };
        let (place, path) = self.selector()?;
        self.checked(place, Match { path, test: Test::Contains(value.clone()), negated }).map(Some)
    }

    /// A path; with the number of its first token, for errors.
    fn selector(&mut self) -> Result<(usize, Vec<String>), Refused> {
        let place = self.at;
        let Kind::Word(word) = &self.next().kind else {
            self.at = place;
            return Err(self.refuse("expected a selector, which is a field's name like ServiceName"));
        };
        let mut path: Vec<String> = word.split('.').map(str::to_owned).collect();
        loop {
            match self.peek().kind {
                Kind::OpenBracket => {
                    self.next();
                    path.push(self.value()?);
                    if self.next().kind != Kind::CloseBracket {
                        self.at -= 1;
                        return Err(self.refuse("the closing bracket is missing"));
                    }
                }
                Kind::Dot => {
                    self.next();
                    let Kind::Word(word) = &self.next().kind else {
                        self.at -= 1;
                        return Err(self.refuse("expected a field's name after the dot"));
                    };
                    path.extend(word.split('.').map(str::to_owned));
                }
                _ => return Ok((place, path)),
            }
        }
    }

    fn value(&mut self) -> Result<String, Refused> {
        match &self.next().kind {
            Kind::Word(value) | Kind::Quoted(value) => Ok(value.clone()),
            _ => {
                self.at -= 1;
                Err(self.refuse("expected a value"))
            }
        }
    }

    fn test(&mut self) -> Result<(Test, bool), Refused> {
        match self.peek().kind {
            Kind::Equal | Kind::NotEqual => {
                let negated = self.next().kind == Kind::NotEqual;
                return Ok((Test::Equal(self.value()?), negated));
            }
            _ => {}
        }
        if self.takes("is") {
            let negated = self.takes("not");
            return match self.takes("empty") {
                true => Ok((Test::Empty, negated)),
                false => Err(self.refuse("expected \"empty\"")),
            };
        }
        let negated = self.takes("not");
        if self.takes("contains") {
            return Ok((Test::Contains(self.value()?), negated));
        }
        if self.takes("matches") {
            let pattern = self.value()?;
            let regex = regex(&pattern).map_err(|what| self.refuse(what))?;
            return Ok((Test::Matches(regex), negated));
        }
        let operators = "==, !=, in, not in, contains, matches, is empty";
        Err(self.refuse(format!("expected one of {operators}")))
    }

    /// Refuses selectors that lead nowhere and tests that make no sense for what they lead to.
    fn checked(&self, place: usize, found: Match) -> Result<Match, Refused> {
        let at = self.tokens.get(place).map_or(0, |token| token.at) + 1;
        let name = found.path.join(".");
        let mut verdict = None;
        find(self.sample, &found.path, true, &mut |value| {
            verdict = Some(match value {
                Found::Value(value) => fits(&found.test, &value),
                Found::Missing => Ok(()),
                Found::Nowhere => Err(format!("Selector {name:?} is not valid")),
            });
            false
        });
        match verdict {
            Some(Ok(())) => Ok(found),
            Some(Err(what)) => Err(Refused { at, what: what.replace("{}", &name) }),
            None => Err(Refused { at, what: format!("Selector {name:?} is not valid") }),
        }
    }
}

fn single(mut items: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    match items.len() {
        1 => items.remove(0),
        _ => many(items),
    }
}

fn regex(pattern: &str) -> Result<Regex, String> {
    let (nesting, bytes) = REGEX_LIMITS;
    RegexBuilder::new(pattern)
        .nest_limit(nesting)
        .size_limit(bytes)
        .build()
        .map_err(|cause| format!("Failed to compile regular expression {pattern:?}: {cause}"))
}

fn fits(test: &Test, value: &Value<'_>) -> Result<(), String> {
    let coerced = |what: &str, text: &str, is_fine: bool| match is_fine {
        true => Ok(()),
        false => Err(format!("Failed to coerce value {text:?} for selector \"{{}}\": it is no {what}")),
    };
    let fits = match (test, value) {
        (Test::Equal(text), Value::Number(_)) => return coerced("number", text, text.parse::<i64>().is_ok()),
        (Test::Equal(text), Value::Bool(_)) => return coerced("boolean", text, boolean(text).is_some()),
        (Test::Equal(_) | Test::Matches(_), Value::Text(_)) => true,
        (Test::Contains(_), Value::Text(_) | Value::Texts(_) | Value::Labels(_) | Value::Addresses(_)) => {
            true
        }
        (Test::Empty, value) => has_length(value),
        _ => false,
    };
    match fits {
        true => Ok(()),
        false => Err(format!("Invalid match operator {:?} for selector \"{{}}\"", name(test))),
    }
}

fn has_length(value: &Value<'_>) -> bool {
    !matches!(value, Value::Number(_) | Value::Bool(_) | Value::Nested(_))
}

fn name(test: &Test) -> &'static str {
    match test {
        Test::Equal(_) => "Equal",
        Test::Contains(_) => "In",
        Test::Matches(_) => "Matches",
        Test::Empty => "Is Empty",
    }
}
