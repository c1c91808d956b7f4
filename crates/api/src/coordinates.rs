//! `coordinate/*`: where nodes are from each other, in Consul's coordinates. Nothing here measures them, so every
//! node stands where Consul puts one of which it knows nothing: at the origin, with the largest error.

use serde_json::{Value, json};

use crate::Api;
use crate::access::Lens;
use crate::catalog_paths::named;
use crate::http::{Answer, Failure, Parts};
use crate::plan::NODE_ALIVE;
use crate::read::{Scope, View, check_datacenter};

/// `GET coordinate/nodes`.
pub(crate) fn nodes(_: &Parts) -> Result<View, Failure> {
    Ok(View::new(Scope::Nodes, |_, lens, pretty| Answer::json_as(&all(lens), pretty)))
}

/// `GET coordinate/node/:name`.
pub(crate) fn node(parts: &Parts) -> Result<View, Failure> {
    let name = named(parts, "node name")?;
    Ok(View::new(Scope::Nodes, move |_, lens, pretty| match lens.node(&name) {
        Some(_) => Answer::json_as(&[unknown(&name)], pretty),
        None => Ok(Answer::nothing()),
    }))
}

/// `GET coordinate/datacenters`.
pub(crate) fn datacenters(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    check_datacenter(parts.query.get("dc"), &api.node.datacenter)?;
    let now = api.store.now();
    let here = json!({
        "Datacenter": api.node.datacenter, "AreaID": "wan", "Coordinates": all(&parts.caller.lens(&now)),
    });
    Answer::json_as(&[here], parts.query.has("pretty"))
}

/// Nodes that run an agent: those registered from outside have no coordinates in Consul either.
fn all(lens: &Lens<'_>) -> Vec<Value> {
    let agents = lens.nodes().filter(|entry| entry.checks.iter().any(|c| &*c.def.id == NODE_ALIVE));
    agents.map(|entry| unknown(&entry.def.name)).collect()
}

fn unknown(node: &str) -> Value {
    json!({
        "Node": node, "Segment": "", "Partition": "default",
        "Coord": { "Vec": [0, 0, 0, 0, 0, 0, 0, 0], "Error": 1.5, "Adjustment": 0.0, "Height": 1e-5 },
    })
}
