//! How a provider is spoken to: a file of requests with places to fill in.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// Templates that come with us.
const READY: [(&str, &str); 4] = [
    ("cloudflare", include_str!("ready/cloudflare.toml")),
    ("desec", include_str!("ready/desec.toml")),
    ("dyndns2", include_str!("ready/dyndns2.toml")),
    ("gandi", include_str!("ready/gandi.toml")),
];
/// Largest file of one's own.
const MAX_FILE: usize = 64 << 10;

/// A provider's requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Template {
    /// Texts of TXT records stand in quotes.
    #[serde(default)]
    pub(super) quoted_text: bool,
    /// Nobody can tell whose a name is: it is taken.
    #[serde(default)]
    pub(super) unowned: bool,
    #[serde(default)]
    pub(super) variables: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) read: Option<Call>,
    pub(super) write: Call,
    #[serde(default)]
    pub(super) remove: Option<Call>,
}

/// One request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: String,
    #[serde(default)]
    pub(super) body: Option<String>,
    /// Where the answer has the values: a JSON pointer (RFC 6901) in which `*` is every element.
    #[serde(default)]
    pub(super) values: Option<String>,
    /// Where it has what each record is removed by, in the same order.
    #[serde(default)]
    pub(super) ids: Option<String>,
    /// What the answer's text begins with when it was taken.
    #[serde(default)]
    pub(super) accepts: Vec<String>,
    #[serde(default)]
    pub(super) least_ttl: u64,
}

/// A template that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// Neither one of ours nor a file.
    #[error("read the template {name}; there are cloudflare, desec, dyndns2, gandi, and files of one's own")]
    File {
        /// As it was named.
        name: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Not a template.
    #[error("the template {name} cannot be read: {why}")]
    Form {
        /// As it was named.
        name: String,
        /// Why.
        why: String,
    },
}

impl Template {
    /// One of ours by its name, else a file.
    pub(super) fn load(name: &str) -> Result<Template, TemplateError> {
        let ready = READY.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
        let read = || std::fs::read_to_string(Path::new(name));
        let failed = |cause| TemplateError::File { name: name.into(), cause };
        let text = ready.map_or_else(read, Ok).map_err(failed)?;
        let form = |why: String| TemplateError::Form { name: name.into(), why };
        if text.len() > MAX_FILE {
            return Err(form(format!("{} bytes are too many", text.len())));
        }
        let template: Template = toml::from_str(&text).map_err(|error| form(error.to_string()))?;
        if !template.unowned && template.read.as_ref().is_none_or(|read| read.values.is_none()) {
            return Err(form(
                "[read] with `values` is missing: without it nobody can tell whose a name is".into(),
            ));
        }
        Ok(template)
    }
}

/// Fills the places of a text in. A place that nobody fills stays, and is what the server complains about.
pub(super) fn fill(text: &str, places: &BTreeMap<&str, String>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let place = after.split_once('}').filter(|(name, _)| places.contains_key(name));
        match place {
            Some((name, after)) => {
                filled.push_str(&places[name]);
                rest = after;
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled + rest
}

/// Texts at a pointer; `*` is every element.
pub(super) fn at(value: &Value, pointer: &str) -> Vec<String> {
    match pointer.split_once("/*") {
        None => match value.pointer(pointer) {
            Some(Value::Array(all)) => all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
            Some(Value::String(one)) => vec![one.clone()],
            _ => Vec::new(),
        },
        Some((list, rest)) => {
            let elements = value.pointer(list).and_then(Value::as_array);
            elements.into_iter().flatten().flat_map(|one| at(one, rest)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_come_with_us_are_templates() {
        for (name, _) in READY {
            Template::load(name).unwrap();
        }
        assert!(Template::load("/nowhere").is_err());
    }

    #[test]
    fn places_are_filled_and_braces_of_json_stay() {
        let places = [("ttl", "60".to_owned()), ("values", "[\"{ttl}\"]".to_owned())].into();
        assert_eq!(fill("{\"a\":{ttl},\"b\":{values},{no}}", &places), "{\"a\":60,\"b\":[\"{ttl}\"],{no}}");
    }

    #[test]
    fn pointers_reach_into_lists() {
        let value = serde_json::json!({"result": [{"id": "x"}, {"id": "y"}], "one": "z"});
        assert_eq!(at(&value, "/result/*/id"), ["x", "y"]);
        assert_eq!(at(&value, "/one"), ["z"]);
        assert_eq!(at(&value, "/none"), [""; 0]);
    }
}
