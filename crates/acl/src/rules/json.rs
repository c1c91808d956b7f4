//! The same in JSON, as HCL reads it: a list of objects is what they are together.

use serde_json::Value;

use super::{MAX_PAIRS, Refused, Tree};

/// Reads a whole text. Nesting is bounded by the JSON reader.
pub(super) fn tree(text: &str) -> Result<Tree, Refused> {
    let value: Value = serde_json::from_str(text)
        .map_err(|why| Refused::Syntax { line: why.line().max(1), what: why.to_string() })?;
    let mut pairs = 0;
    convert(value, &mut pairs)
}

fn convert(value: Value, pairs: &mut usize) -> Result<Tree, Refused> {
    Ok(match value {
        Value::String(text) => Tree::Text(text),
        Value::Array(values) => {
            Tree::List(values.into_iter().map(|value| convert(value, pairs)).collect::<Result<_, _>>()?)
        }
        Value::Object(object) => {
            *pairs += object.len();
            if *pairs > MAX_PAIRS {
                let what = format!("there are more than {MAX_PAIRS} pairs");
                return Err(Refused::Syntax { line: 1, what });
            }
            let converted = object.into_iter().map(|(key, value)| Ok((key, convert(value, pairs)?)));
            Tree::Block(converted.collect::<Result<_, _>>()?)
        }
        other => Tree::Other(other.to_string()),
    })
}
