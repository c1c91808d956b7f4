//! The agent's files: JSON or HCL, one laid over the other in the order in which Consul reads them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};

use super::hcl;

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// What is gathered from all files, and not replaced by the next one.
const GATHERED: &[&str] =
    &["service", "services", "check", "checks", "retry_join", "start_join", "recursors", "watches"];

/// Everything that these files and folders say. `format` names the language of files without an ending.
pub(super) fn read(paths: &[PathBuf], format: Option<&str>) -> Result<Map<String, Value>> {
    let mut merged = Map::new();
    for path in paths {
        for file in files_of(path)? {
            let read = read_file(&file, format).with_context(|| format!("read {}", file.display()))?;
            merge(&mut merged, read);
        }
    }
    Ok(merged)
}

/// A file itself; of a folder the files that end in `.json` or `.hcl`, by name.
fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("read the folder {}", path.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.with_context(|| format!("read the folder {}", path.display()))?.path();
        if file.is_file() && file.extension().is_some_and(|end| end == "json" || end == "hcl") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(file: &Path, format: Option<&str>) -> Result<Map<String, Value>> {
    let length = std::fs::metadata(file)?.len();
    if length > MAX_FILE {
        bail!("it has {length} bytes, and at most {MAX_FILE} are read");
    }
    let text = std::fs::read_to_string(file)?;
    let ending = file.extension().and_then(|end| end.to_str());
    let value = match ending.filter(|end| matches!(*end, "json" | "hcl")).or(format) {
        // Consul starts with an empty file, that is filled before a reload.
        Some("json") if text.trim().is_empty() => Value::Object(Map::new()),
        Some("json") => serde_json::from_str(&text)?,
        Some("hcl") => hcl::parse(&text)?,
        Some(other) => bail!("there is no format {other:?}, only \"json\" and \"hcl\""),
        None => bail!("its name ends neither in .json nor in .hcl; say which with -config-format"),
    };
    match folded(value) {
        Value::Object(object) => Ok(object),
        _ => bail!("it is no object"),
    }
}

/// Keys of the first level in lower case: Consul takes them in any.
fn folded(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            Value::Object(object.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value)).collect())
        }
        other => other,
    }
}

/// Lays one file over those before: objects key by key, lists of definitions one after the other.
pub(super) fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(before), value) if GATHERED.contains(&key.as_str()) => {
                let mut all = as_list(before.take());
                all.extend(as_list(value));
                *before = Value::Array(all);
            }
            (Some(Value::Object(before)), Value::Object(object)) => merge(before, object),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

/// One or many, as a list.
pub(super) fn as_list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list,
        Value::Null => Vec::new(),
        one => vec![one],
    }
}
