//! Lets the containers' face register with this very daemon, as a client of its own API: what a label asks for passes
//! the same checks as what anybody else does.

use std::collections::BTreeMap;
use std::time::Duration;

use client::Client;
use consul::Labels;
use consul::register::ServiceRegistration;
use serde::Deserialize;

use crate::remote::encoded;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// This daemon's registry.
pub(crate) struct Registrar {
    client: Client,
}

impl Registrar {
    pub(crate) fn new(client: Client) -> Registrar {
        Registrar { client }
    }
}

/// What of an instance matters here.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Registered {
    meta: Option<Labels>,
}

impl containers::Registrar for Registrar {
    async fn registered(&self) -> Result<BTreeMap<String, Option<String>>, String> {
        let answer = self.client.get::<BTreeMap<String, Registered>>("/v1/agent/services");
        let answer = answer.await.map_err(|cause| cause.to_string())?;
        let container = |one: Registered| one.meta?.get(containers::plan::OWNER).map(ToString::to_string);
        Ok(answer.value.into_iter().map(|(id, one)| (id, container(one))).collect())
    }

    async fn register(&self, service: &ServiceRegistration) -> Result<(), String> {
        // Checks that the label no longer asks for go.
        let path = "/v1/agent/service/register?replace-existing-checks=true";
        let body = serde_json::to_vec(service).map_err(|cause| cause.to_string())?;
        self.client.put_bytes(path, body, PATIENCE).await.map(drop).map_err(|cause| cause.to_string())
    }

    async fn deregister(&self, id: &str) -> Result<(), String> {
        let path = format!("/v1/agent/service/deregister/{}", encoded(id));
        self.client.put_bytes(&path, Vec::new(), PATIENCE).await.map(drop).map_err(|cause| cause.to_string())
    }
}
