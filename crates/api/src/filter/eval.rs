//! Whether an item passes.

use crate::filter::fields::{Found, find};
use crate::filter::{Expression, Fields, Match, Test, Value};

impl Expression {
    pub(super) fn holds(&self, item: &dyn Fields) -> bool {
        match self {
            Expression::All(parts) => parts.iter().all(|part| part.holds(item)),
            Expression::Any(parts) => parts.iter().any(|part| part.holds(item)),
            Expression::Not(inner) => !inner.holds(item),
            Expression::Match(test) => test.holds(item),
        }
    }
}

impl Match {
    fn holds(&self, item: &dyn Fields) -> bool {
        find(item, &self.path, false, &mut |found| match found {
            Found::Value(value) => self.test.holds(&value) != self.negated,
            // What is not there equals nothing, contains nothing, and is empty.
            Found::Missing => matches!(self.test, Test::Empty) != self.negated,
            Found::Nowhere => false,
        })
    }
}

impl Test {
    fn holds(&self, value: &Value<'_>) -> bool {
        match self {
            Test::Equal(text) => equals(value, text),
            Test::Contains(text) => contains(value, text),
            Test::Matches(regex) => matches!(value, Value::Text(value) if regex.is_match(value)),
            Test::Empty => is_empty(value),
        }
    }
}

fn equals(value: &Value<'_>, text: &str) -> bool {
    match value {
        Value::Text(value) => *value == text,
        Value::Number(number) => text.parse() == Ok(*number),
        Value::Bool(value) => boolean(text) == Some(*value),
        _ => false,
    }
}

fn contains(value: &Value<'_>, text: &str) -> bool {
    match value {
        Value::Text(value) => value.contains(text),
        Value::Texts(values) => values.iter().any(|value| **value == *text),
        Value::Labels(labels) => labels.contains_key(text),
        Value::Addresses(addresses) => addresses.contains_key(text),
        _ => false,
    }
}

fn is_empty(value: &Value<'_>) -> bool {
    match value {
        Value::Text(value) => value.is_empty(),
        Value::Texts(values) => values.is_empty(),
        Value::Labels(labels) => labels.is_empty(),
        Value::Addresses(addresses) => addresses.is_empty(),
        Value::Checks(checks) => checks.is_empty(),
        Value::NoneOf(_) => true,
        Value::Number(_) | Value::Bool(_) | Value::Nested(_) => false,
    }
}

/// Go's spellings of a boolean.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
