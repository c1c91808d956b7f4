//! Templates: one query for many names. What stands between `${` and `}` in its texts is replaced by parts of
//! the name that was asked for.

use std::sync::Arc;

use regex_lite::{Captures, Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::query::QueryDef;

/// Longest pattern, in bytes.
pub const MAX_PATTERN: usize = 4096;
/// Largest compiled pattern, in bytes: a short one can ask for a very large machine.
const MAX_COMPILED: usize = 1 << 20;

/// How a query takes a name apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Regular expression over the whole name; `${match(1)}` is its first group. May be empty.
    #[serde(default)]
    pub pattern: Arc<str>,
    /// Forget tags of which nothing is left.
    #[serde(default)]
    pub remove_empty_tags: bool,
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The pattern is no regular expression, or a very large one.
    #[error("Bad Regexp: {0}")]
    Pattern(String),
    /// A text asks for something that is not there.
    #[error("Bad evaluation for '{text}' in {field}: {why}")]
    Text {
        /// The text.
        text: String,
        /// Where it stands.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// A name, taken apart.
struct Parts<'n> {
    full: &'n str,
    prefix: &'n str,
    suffix: &'n str,
    captures: Option<Captures<'n>>,
}

impl QueryDef {
    /// The query for `name`: a template with the name's parts put in, anything else as it is.
    ///
    /// # Errors
    /// [`TemplateError`]; a query that passed this for one name passes it for every name.
    pub fn rendered(&self, name: &str) -> Result<QueryDef, TemplateError> {
        let Some(template) = &self.template else { return Ok(self.clone()) };
        let pattern = template.compile()?;
        let split = self.name.len().min(name.len());
        let (prefix, suffix) = name.split_at_checked(split).unwrap_or((name, ""));
        let captures = pattern.as_ref().and_then(|pattern| pattern.captures(name));
        let parts = Parts { full: name, prefix, suffix, captures };
        let text = |text: &Arc<str>, field| parts.fill(text, field);
        let each = |list: &[Arc<str>], field| -> Result<Vec<Arc<str>>, TemplateError> {
            list.iter().map(|one| parts.fill(one, field)).collect()
        };
        let labels = |of: &Labels, field| -> Result<Labels, TemplateError> {
            of.iter().map(|(key, value)| Ok((key.clone(), parts.fill(value, field)?))).collect()
        };
        let mut tags = each(&self.tags, "Service.Tags")?;
        if template.remove_empty_tags {
            tags.retain(|tag| !tag.is_empty());
        }
        Ok(QueryDef {
            service: text(&self.service, "Service.Service")?,
            near: text(&self.near, "Service.Near")?,
            datacenters: each(&self.datacenters, "Service.Failover.Datacenters")?,
            node_meta: labels(&self.node_meta, "Service.NodeMeta")?,
            service_meta: labels(&self.service_meta, "Service.ServiceMeta")?,
            tags,
            ..self.clone()
        })
    }
}

impl Template {
    fn compile(&self) -> Result<Option<Regex>, TemplateError> {
        match self.pattern.len() {
            0 => Ok(None),
            length if length > MAX_PATTERN => {
                Err(TemplateError::Pattern(format!("it is longer than {MAX_PATTERN} bytes")))
            }
            _ => RegexBuilder::new(&self.pattern)
                .size_limit(MAX_COMPILED)
                .build()
                .map(Some)
                .map_err(|why| TemplateError::Pattern(why.to_string())),
        }
    }
}

impl Parts<'_> {
    /// `text` with every `${…}` replaced; `$${` is a plain `${`.
    fn fill(&self, text: &Arc<str>, field: &'static str) -> Result<Arc<str>, TemplateError> {
        if !text.contains("${") {
            return Ok(text.clone());
        }
        let wrong = |why: String| TemplateError::Text { text: text.to_string(), field, why };
        let (mut filled, mut rest) = (String::new(), &**text);
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                filled.push_str(before);
                filled.push_str("${");
                rest = &from[2..];
                continue;
            }
            let end = from.find('}').ok_or_else(|| wrong("a ${ is not closed".to_owned()))?;
            filled.push_str(before);
            filled.push_str(self.value(from[2..end].trim()).map_err(wrong)?);
            rest = &from[end + 1..];
        }
        filled.push_str(rest);
        Ok(filled.into())
    }

    fn value(&self, expression: &str) -> Result<&str, String> {
        match expression {
            "name.full" => Ok(self.full),
            "name.prefix" => Ok(self.prefix),
            "name.suffix" => Ok(self.suffix),
            "agent.segment" => Ok(""),
            _ => {
                let number = expression.strip_prefix("match(").and_then(|rest| rest.strip_suffix(')'));
                let number = number.and_then(|number| number.trim().parse::<usize>().ok());
                let number = number.ok_or_else(|| format!("unknown variable accessed: {expression}"))?;
                let captures = self.captures.as_ref();
                Ok(captures.and_then(|captures| captures.get(number)).map_or("", |found| found.as_str()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(pattern: &str, service: &str, tags: &[&str]) -> QueryDef {
        QueryDef {
            name: "geo-".into(),
            template: Some(Template { pattern: pattern.into(), remove_empty_tags: true }),
            service: service.into(),
            tags: tags.iter().map(|tag| (*tag).into()).collect(),
            ..QueryDef::default()
        }
    }

    #[test]
    fn the_name_is_taken_apart() {
        let query = template("^geo-(.*?)-([^-]*)$", "${match(1)}", &["${match(2)}", "$${x}", "${match(7)}"]);
        let found = query.rendered("geo-web-blue").unwrap();
        assert_eq!((&*found.service, found.tags), ("web", vec!["blue".into(), "${x}".into()]));
        let found =
            template("", "a${name.suffix}b-${name.full}-${name.prefix}", &[]).rendered("geo-x").unwrap();
        assert_eq!(&*found.service, "axb-geo-x-geo-");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (pattern, service) in [("(", "x"), ("", "${nope}"), ("", "${name.full"), ("", "${match(x)}")] {
            assert!(template(pattern, service, &[]).rendered("geo-x").is_err(), "{pattern} {service}");
        }
    }
}
