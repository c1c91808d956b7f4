//! TOML and JSON text into one kind of tree.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use toml::de::{DeTable, DeValue};

use super::tree::{Field, Kind, Span, Tree};

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 32;

/// Text that does not parse: what, and where.
#[derive(Debug, PartialEq)]
pub(super) struct SyntaxError {
    pub(super) message: String,
    pub(super) span: Span,
}

/// Reads a file's text by the name it has: `.json` is JSON, anything else TOML unless it starts like JSON.
pub(super) fn parse(name: &str, source: &str) -> Result<Tree, SyntaxError> {
    let looks_like_json = source.trim_start().starts_with('{');
    if name.ends_with(".json") || (looks_like_json && !name.ends_with(".toml")) {
        json(source)
    } else {
        toml(source)
    }
}

fn toml(source: &str) -> Result<Tree, SyntaxError> {
    let table = DeTable::parse(source).map_err(|cause| SyntaxError {
        message: cause.message().to_owned(),
        span: cause.span().unwrap_or(0..0),
    })?;
    let span = table.span();
    Ok(Tree { kind: toml_table(table.get_ref(), 0)?, span })
}

fn toml_table(table: &DeTable<'_>, depth: usize) -> Result<Kind, SyntaxError> {
    let mut fields = Vec::with_capacity(table.len());
    for (key, value) in table {
        let tree = toml_value(value.get_ref(), value.span(), depth + 1)?;
        fields.push(Field { name: key.get_ref().to_string(), span: key.span(), tree });
    }
    // The parser sorts by name; people read in the order they wrote.
    fields.sort_by_key(|field| field.span.start);
    Ok(Kind::Table(fields))
}

fn toml_value(value: &DeValue<'_>, span: Span, depth: usize) -> Result<Tree, SyntaxError> {
    if depth > MAX_DEPTH {
        return Err(too_deep(span));
    }
    let broken = |message: String| SyntaxError { message, span: span.clone() };
    let kind = match value {
        DeValue::String(text) => Kind::Leaf(Value::String(text.to_string())),
        DeValue::Boolean(value) => Kind::Leaf(Value::Bool(*value)),
        DeValue::Integer(number) => {
            let read = i64::from_str_radix(number.as_str(), number.radix());
            Kind::Leaf(read.map_err(|_| broken(format!("{number} does not fit 64 bits")))?.into())
        }
        DeValue::Float(number) => {
            let read = number.as_str().parse::<f64>().ok().and_then(serde_json::Number::from_f64);
            Kind::Leaf(Value::Number(read.ok_or_else(|| broken(format!("{number} is not a finite number")))?))
        }
        DeValue::Datetime(time) => Kind::Leaf(Value::String(time.to_string())),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| toml_value(item.get_ref(), item.span(), depth + 1));
            Kind::List(items.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => toml_table(table, depth)?,
    };
    Ok(Tree { span, kind })
}

fn too_deep(span: Span) -> SyntaxError {
    SyntaxError { message: format!("nested deeper than {MAX_DEPTH} levels"), span }
}

/// JSON has no parser here that keeps places; borrowed raw values are slices of the source, so their places
/// follow from where they begin.
fn json(source: &str) -> Result<Tree, SyntaxError> {
    let raw: &RawValue = serde_json::from_str(source).map_err(|cause| {
        let at = offset(source, cause.line(), cause.column());
        SyntaxError { message: without_place(&cause), span: at..at }
    })?;
    json_value(source, raw, 0)
}

fn json_value(source: &str, raw: &RawValue, depth: usize) -> Result<Tree, SyntaxError> {
    let text = raw.get();
    let start = (text.as_ptr() as usize).saturating_sub(source.as_ptr() as usize);
    let span = start..start + text.len();
    let broken =
        |cause: serde_json::Error| SyntaxError { message: without_place(&cause), span: span.clone() };
    if depth > MAX_DEPTH {
        return Err(too_deep(span));
    }
    let kind = match text.as_bytes().first() {
        Some(b'{') => {
            let Fields(pairs) = serde_json::from_str(text).map_err(broken)?;
            let mut fields = Vec::with_capacity(pairs.len());
            for (key, value) in pairs {
                let tree = json_value(source, value, depth + 1)?;
                let span = key_span(source, &key, tree.span.start);
                fields.push(Field { name: key.into_owned(), span, tree });
            }
            Kind::Table(fields)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(broken)?;
            let items = items.into_iter().map(|item| json_value(source, item, depth + 1));
            Kind::List(items.collect::<Result<_, _>>()?)
        }
        _ => Kind::Leaf(serde_json::from_str(text).map_err(broken)?),
    };
    Ok(Tree { span, kind })
}

/// The key's place: the last `"key"` before its value. A key written with escapes gets the value's place.
fn key_span(source: &str, key: &str, value_start: usize) -> Span {
    let quoted = format!("\"{key}\"");
    match source[..value_start].rfind(&quoted) {
        Some(start) => start..start + quoted.len(),
        None => value_start..value_start,
    }
}

/// The pairs of an object in their order; a key that comes twice is an error, as it is in TOML.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut pairs: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
        while let Some((key, value)) = access.next_entry::<String, &'de RawValue>()? {
            if pairs.iter().any(|(known, _)| *known == key) {
                return Err(serde::de::Error::custom(format!("duplicate key `{key}`")));
            }
            pairs.push((key.into(), value));
        }
        Ok(Fields(pairs))
    }
}

/// serde_json's message without its "at line 1 column 2": the span says it.
fn without_place(cause: &serde_json::Error) -> String {
    let text = cause.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Byte offset of a line and column, both from 1, kept inside the text and on a character.
fn offset(source: &str, line: usize, column: usize) -> usize {
    let start: usize = source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    source.floor_char_boundary((start + column.saturating_sub(1)).min(source.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn both_formats_give_the_same_value_and_true_places() {
        let toml_text = "[dns]\nlisten = \"a\"\nttl = 0x10\n[[dns.zones]]\nname = \"ü\"\n";
        let json_text = "{\"dns\": {\"listen\": \"a\", \"ttl\": 16,\n \"zones\": [{\"name\": \"ü\"}]}}";
        let (from_toml, from_json) =
            (parse("a.toml", toml_text).unwrap(), parse("a.json", json_text).unwrap());
        assert_eq!(from_toml.value(), from_json.value());
        for (tree, text) in [(&from_toml, toml_text), (&from_json, json_text)] {
            assert_eq!(text[tree.place(&path("dns.listen"), true)].trim_matches('"'), "listen");
            assert_eq!(&text[tree.place(&path("dns.listen"), false)], "\"a\"");
            assert_eq!(&text[tree.place(&path("dns.zones.0.name"), false)], "\"ü\"");
        }
    }

    #[test]
    fn syntax_errors_have_a_place() {
        for (name, text) in
            [("a.toml", "[dns\n"), ("a.json", "{\"dns\": "), ("a.json", "{\"a\":1,\"a\":2}"), ("a", "{]")]
        {
            let error = parse(name, text).unwrap_err();
            assert!(error.span.end <= text.len() && !error.message.contains("line"), "{error:?}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(40), "}".repeat(40));
        assert!(parse("a.json", &deep).unwrap_err().message.contains("deeper"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}", json in any::<bool>()) {
            let name = if json { "a.json" } else { "a.toml" };
            if let Err(error) = parse(name, &text) {
                prop_assert!(text.get(error.span).is_some());
            }
        }
    }
}
