//! Requests with the answers that they must have, as text that people can read: `transcripts/*.txt`.
//!
//! ```text
//! # comment
//! > PUT /v1/kv/a?flags=7          a request: method and target,
//! > Accept: text/plain            header fields,
//! > hello                         and the body
//! < 200                           the status,
//! < X-Consul-Index: *             header fields that must be there,
//! < true                          and the body: text, or JSON
//! ```
//!
//! In expected text and JSON strings `*` stands for anything. An expected JSON object that has the key
//! `...` may have further keys. Without an expected body any body will do; `<` alone expects none.

#![allow(clippy::expect_used, reason = "test code")]

mod common;

use common::{Reply, Server};
use serde_json::Value;

struct Exchange {
    line: usize,
    method: String,
    target: String,
    sent_fields: Vec<(String, String)>,
    body: String,
    status: u16,
    fields: Vec<(String, String)>,
    expected: Option<String>,
}

#[tokio::test]
async fn every_transcript_holds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("there").map(|e| e.expect("reads").path()).collect();
    paths.sort();
    assert!(paths.len() >= 5, "the transcripts are there");
    let mut problems = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("reads");
        let server = Server::start().await;
        for exchange in exchanges(&text) {
            let fields: Vec<(&str, &str)> =
                exchange.sent_fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let reply =
                server.send(&exchange.method, &exchange.target, &fields, exchange.body.as_bytes()).await;
            if let Err(problem) = compare(&exchange, &reply) {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("?");
                let (line, method, target) = (exchange.line, &exchange.method, &exchange.target);
                problems.push(format!("{name}:{line}: {method} {target}: {problem}\n  got {reply:?}"));
            }
        }
        server.stop().await;
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

fn exchanges(text: &str) -> Vec<Exchange> {
    let lines: Vec<(usize, &str)> =
        text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')).collect();
    let groups = lines.split(|(_, line)| line.trim().is_empty());
    groups.filter(|group| !group.is_empty()).map(exchange).collect()
}

fn exchange(lines: &[(usize, &str)]) -> Exchange {
    let side = |mark: char| -> Vec<&str> {
        let of_side = lines.iter().filter_map(move |(_, line)| line.strip_prefix(mark));
        of_side.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect()
    };
    let (sent, answered) = (side('>'), side('<'));
    let (method, target) = sent[0].split_once(' ').expect("method and target");
    let (sent_fields, body) = fields_and_body(&sent[1..]);
    let (fields, expected) = fields_and_body(&answered[1..]);
    Exchange {
        line: lines[0].0 + 1,
        method: method.to_owned(),
        target: target.trim().to_owned(),
        sent_fields,
        body: body.unwrap_or_default(),
        status: answered[0].trim().parse().expect("a status"),
        fields,
        expected,
    }
}

/// Lines that look like header fields, then the rest.
fn fields_and_body(lines: &[&str]) -> (Vec<(String, String)>, Option<String>) {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let field = |line: &&str| {
        let (name, value) = line.split_once(": ")?;
        is_name(name).then(|| (name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let fields: Vec<_> = lines.iter().map_while(field).collect();
    let rest = &lines[fields.len()..];
    let body = (!rest.is_empty()).then(|| rest.join("\n"));
    (fields, body)
}

fn compare(wanted: &Exchange, reply: &Reply) -> Result<(), String> {
    if reply.status != wanted.status {
        return Err(format!("status {}, not {}", reply.status, wanted.status));
    }
    for (name, value) in &wanted.fields {
        let found = reply.field(name).ok_or_else(|| format!("no {name}"))?;
        if !is_like(value, found) {
            return Err(format!("{name}: {found}, not {value}"));
        }
    }
    let Some(expected) = &wanted.expected else { return Ok(()) };
    match serde_json::from_str::<Value>(expected) {
        Ok(expected) => {
            let found = serde_json::from_str(&reply.body).map_err(|error| format!("no JSON: {error}"))?;
            same(&expected, &found).map_err(|place| format!("differs at {place}"))
        }
        Err(_) if is_like(expected.trim(), reply.body.trim()) => Ok(()),
        Err(_) => Err(format!("body is not {expected:?}")),
    }
}

/// Compares text with `*` for anything.
fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let mut ends = (0..=rest.len()).filter(|at| rest.is_char_boundary(*at));
            ends.any(|at| is_like(after, &rest[at..]))
        }),
    }
}

fn same(expected: &Value, found: &Value) -> Result<(), String> {
    match (expected, found) {
        (Value::String(pattern), _) if pattern == "*" => Ok(()),
        (Value::String(pattern), Value::String(text)) if is_like(pattern, text) => Ok(()),
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let mut pairs = expected.iter().zip(found).enumerate();
            pairs.try_for_each(|(at, (e, f))| same(e, f).map_err(|place| format!("[{at}]{place}")))
        }
        (Value::Object(expected), Value::Object(found)) => {
            let open = expected.contains_key("...");
            if let Some(extra) = found.keys().find(|key| !open && !expected.contains_key(*key)) {
                return Err(format!(".{extra} (not expected)"));
            }
            for (key, value) in expected.iter().filter(|(key, _)| *key != "...") {
                let found = found.get(key).ok_or_else(|| format!(".{key} (missing)"))?;
                same(value, found).map_err(|place| format!(".{key}{place}"))?;
            }
            Ok(())
        }
        (expected, found) if expected == found => Ok(()),
        (expected, found) => Err(format!(" ({found}, not {expected})")),
    }
}
