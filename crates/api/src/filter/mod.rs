//! `filter` expressions of Consul's list endpoints.
//!
//! ```text
//! expression = term { "or" term }
//! term       = factor { "and" factor }
//! factor     = [ "not" ] ( "(" expression ")" | match )
//! match      = selector ( "==" | "!=" ) value
//!            | selector "is" [ "not" ] "empty"
//!            | selector [ "not" ] ( "contains" | "matches" ) value
//!            | value [ "not" ] "in" selector
//! selector   = name { "." name | "[" string "]" }
//! value      = name-like word | number | "string" | `string`
//! ```
//!
//! Selectors are the field names of the answer, in Go's casing. What a selector may be compared with
//! follows from its type and is refused when the expression is read, not when it is evaluated. A selector
//! that leads through a list holds when any element does.
//!
//! Everything is bounded: text, nesting, number of comparisons, size of regular expressions, which run in
//! linear time.

mod eval;
mod fields;
mod lex;
mod parse;
#[cfg(test)]
mod tests;

pub(crate) use fields::{Fields, Value};

use crate::http::{Failure, Query};

/// Longest expression, in bytes.
const MAX_BYTES: usize = 4096;
/// Deepest nesting of parentheses and `not`.
const MAX_DEPTH: usize = 32;
/// Most comparisons.
const MAX_MATCHES: usize = 128;
/// Most nesting of a regular expression, and the most bytes that it may compile to.
const REGEX_LIMITS: (u32, usize) = (32, 256 << 10);

/// Why an expression is refused: what, and where (in bytes, from 1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {what}")]
pub(crate) struct Refused {
    pub(crate) at: usize,
    pub(crate) what: String,
}

/// An expression, ready to be evaluated on any number of items of type `T`.
#[derive(Debug)]
pub(crate) struct Filter<T> {
    expression: Option<Expression>,
    of: std::marker::PhantomData<fn(&T)>,
}

#[derive(Debug)]
enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Match(Match),
}

/// One comparison.
#[derive(Debug)]
struct Match {
    path: Vec<String>,
    test: Test,
    negated: bool,
}

#[derive(Debug)]
enum Test {
    Equal(String),
    Contains(String),
    Matches(regex_lite::Regex),
    Empty,
}

impl<T: Fields + Default> Filter<T> {
    /// Reads the `filter` parameter; without one everything is let through.
    ///
    /// # Errors
    /// 400 with the place and what is wrong there.
    pub(crate) fn from_query(query: &Query) -> Result<Filter<T>, Failure> {
        let text = query.given("filter").unwrap_or_default();
        Filter::parse(text).map_err(|refused| {
            Failure::bad_request(format!("Failed to create boolean expression evaluator: {refused}"))
        })
    }

    /// Reads an expression; an empty one lets everything through.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) fn parse(text: &str) -> Result<Filter<T>, Refused> {
        let expression = match text.trim().is_empty() {
            true => None,
            false => Some(parse::expression(text, &T::default())?),
        };
        Ok(Filter { expression, of: std::marker::PhantomData })
    }

    /// True when the item passes.
    pub(crate) fn lets(&self, item: &T) -> bool {
        self.expression.as_ref().is_none_or(|expression| expression.holds(item))
    }

    /// True when everything passes.
    pub(crate) fn is_open(&self) -> bool {
        self.expression.is_none()
    }
}
