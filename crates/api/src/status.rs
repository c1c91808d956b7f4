//! `status/*`: who leads, who votes.

use crate::Api;
use crate::http::{Answer, Failure, Parts};
use crate::read::check_datacenter;

pub(crate) fn leader(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    check_datacenter(parts.query.get("dc"), &api.node.datacenter)?;
    Answer::json_as(&address(api), parts.query.has("pretty"))
}

pub(crate) fn peers(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    check_datacenter(parts.query.get("dc"), &api.node.datacenter)?;
    Answer::json_as(&[address(api)], parts.query.has("pretty"))
}

/// Empty when nothing can be decided any more, as Consul answers without a leader.
pub(crate) fn address(api: &Api) -> String {
    match api.contact.now().known_leader() {
        "true" => format!("{}:{}", api.node.address, api.node.mesh_port),
        _ => String::new(),
    }
}
