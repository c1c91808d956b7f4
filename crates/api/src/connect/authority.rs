//! `connect/ca/*` and `agent/connect/ca/*`: the roots of the cluster's own authority, and certificates of it for
//! services. Where no cluster was made there is no authority, and the answer says so.

use std::sync::Arc;

use consul::connect::Roots;
use http::StatusCode;
use serde_json::json;

use crate::Api;
use crate::http::{Answer, Failure, Parts, Request};
use crate::read::{ReadOptions, Scope, settle, with_fields};

/// `GET connect/ca/roots`, with `?pem` as a bundle for OpenSSL.
pub(crate) async fn roots(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (answer, known) = shown_roots(&api, &request.parts).await?;
    match request.parts.query.get("pem") {
        Some("true" | "1") => {
            let bundle: String = known.roots.iter().map(|root| &*root.certificate).collect();
            let whole = Answer::text(bundle).with_type("application/pem-certificate-chain");
            Ok(Answer { fields: answer.fields, ..whole })
        }
        _ => Ok(answer),
    }
}

/// `GET agent/connect/ca/roots`.
pub(crate) async fn roots_of_agent(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    Ok(shown_roots(&api, &request.parts).await?.0)
}

async fn shown_roots(api: &Api, parts: &Parts) -> Result<(Answer, Roots), Failure> {
    let options = ReadOptions::parse(&parts.query, &api.node.datacenter)?;
    let known = api.cluster.roots().ok_or_else(alone)?;
    let (_, index) = settle(api, &Scope::Trust, &options).await?;
    // Others may have come while this waited.
    let known = api.cluster.roots().unwrap_or(known);
    Ok((with_fields(api, Answer::json_as(&known, options.pretty)?, index, &options), known))
}

/// Consul's words where its mesh is off, which clients look for, and ours.
pub(super) fn alone() -> Failure {
    Failure::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "Connect must be enabled in order to use this endpoint: certificates come from the authority of a cluster, \
         and this node is alone; `portolan init` makes it the first of one",
    )
}

/// `GET connect/ca/configuration`.
pub(crate) fn configuration(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    let options = ReadOptions::parse(&parts.query, &api.node.datacenter)?;
    api.cluster.roots().ok_or_else(alone)?;
    let index = api.store.now().cluster().trust_index();
    let shown = json!({
        "Provider": "consul",
        "Config": { "LeafCertTTL": "24h", "IntermediateCertTTL": "17520h", "RootCertTTL": "175200h" },
        "State": null, "ForceWithoutCrossSigning": false, "CreateIndex": index, "ModifyIndex": index,
    });
    Answer::json_as(&shown, options.pretty)
}

/// `PUT connect/ca/configuration`.
pub(crate) fn configure(_: &Api, _: &Parts) -> Result<Answer, Failure> {
    Err(Failure::absent(
        "another authority than the cluster's own (`portolan ca rotate` gives it another root) is",
    ))
}
