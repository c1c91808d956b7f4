//! `portolan/openapi.json`: the API described for programs (OpenAPI 3.0), made from the table of routes, so that
//! neither can be without the other.
//!
//! Bodies are described as JSON without more: their types are Consul's, which `crates/consul` has.

use serde_json::{Map, Value, json};

use crate::Api;
use crate::access::Needs;
use crate::http::{Answer, Failure, Parts};
use crate::routes::{Handler, ROUTES, Route};

/// `GET portolan/openapi.json`.
pub(crate) fn show(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    Answer::json_as(&document(api.node.version), parts.query.has("pretty"))
}

/// The whole description.
fn document(version: &str) -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(template(route.pattern)).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.0.3",
        "info": { "title": "Portolan: Consul's HTTP API, and paths of our own", "version": version },
        "paths": paths,
        "components": { "securitySchemes": {
            "token": { "type": "apiKey", "in": "header", "name": "X-Consul-Token" },
            "bearer": { "type": "http", "scheme": "bearer" },
        } },
    })
}

/// A pattern as OpenAPI writes it.
fn template(pattern: &str) -> String {
    match pattern.split_once('*') {
        Some((prefix, name)) => format!("{prefix}{{{name}}}"),
        None => pattern.to_owned(),
    }
}

fn operation(route: &Route) -> Value {
    let mut parameters = Vec::new();
    if let Some((_, name)) = route.pattern.split_once('*') {
        parameters.push(json!({
            "name": name, "in": "path", "required": true, "schema": { "type": "string" },
            "description": "May contain slashes",
        }));
    }
    let query = |name: &str, kind: &str, what: &str| json!({ "name": name, "in": "query", "schema": { "type": kind }, "description": what });
    if let Handler::View(_) = route.handler {
        parameters.extend([
            query("index", "integer", "Answer once the index is above this"),
            query("wait", "string", "Longest wait, like 30s"),
            query("stale", "boolean", "What this node has, at once"),
            query("consistent", "boolean", "Everything that was decided, or an error"),
            query("pretty", "boolean", "Indent the JSON"),
        ]);
    }
    let mut operation = json!({
        "operationId": operation_id(route), "tags": [family(route.pattern)], "parameters": parameters,
        "responses": {
            "200": { "description": "Done" },
            "default": { "description": "Why not, as text" },
        },
    });
    if !route.method.is_safe() && route.method != http::Method::DELETE {
        operation["requestBody"] = json!({ "content": { "application/json": { "schema": {} } } });
    }
    if route.needs != Needs::Nothing {
        operation["security"] = json!([{}, { "token": [] }, { "bearer": [] }]);
    }
    operation
}

/// One word for a route, no two alike.
fn operation_id(route: &Route) -> String {
    let path = route.pattern.trim_start_matches("/v1/").replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("{}_{}", route.method.as_str().to_ascii_lowercase(), path.trim_matches('_'))
}

fn family(pattern: &str) -> &str {
    pattern.trim_start_matches("/v1/").split('/').find(|part| !part.is_empty()).unwrap_or("root")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_has_every_route_and_nothing_else() {
        let document = document("0");
        let paths = document["paths"].as_object().expect("paths");
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().expect("methods").keys();
                methods.map(move |method| (method.to_ascii_uppercase(), path.clone()))
            })
            .collect();
        let routes: BTreeSet<_> =
            ROUTES.iter().map(|route| (route.method.to_string(), template(route.pattern))).collect();
        assert_eq!(described, routes);
        for (path, methods) in paths {
            for operation in methods.as_object().expect("methods").values() {
                let named: Vec<_> = operation["parameters"].as_array().expect("a list").iter().collect();
                let in_path = named.iter().filter(|parameter| parameter["in"] == "path");
                assert!(
                    in_path
                        .clone()
                        .all(|one| path.contains(&format!("{{{}}}", one["name"].as_str().unwrap_or(""))))
                );
                assert_eq!(in_path.count(), path.matches('{').count(), "{path}");
            }
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let ids: BTreeSet<_> = ROUTES.iter().map(operation_id).collect();
        assert_eq!(ids.len(), ROUTES.len());
    }
}
