//! Policies of access control lists, by their names. Tokens and roles stay behind: a secret is told to its holder alone.

use std::collections::BTreeMap;

use consul::Text;
use consul::acl::PolicyStub;
use serde::Deserialize;
use serde_json::json;

use super::{Done, Followed, Pass};
use crate::exit::{Exit, Failure, Result};
use crate::remote::encoded;

/// Ids of what every Consul has from the start begin with this.
const BUILT_IN: &str = "00000000-0000-0000-0000-";

/// What is compared and kept of one: description, rules, datacenters.
pub(super) type Told = (Text, Text, Vec<Text>);

/// One as either side shows it; what else a newer Consul may add is not looked at.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Policy {
    name: Text,
    description: Text,
    rules: Text,
    datacenters: Option<Vec<Text>>,
}

impl Pass<'_> {
    /// Sets the policies that differ, and takes away those that an earlier pass of ours set.
    pub(super) async fn policies(&self, followed: &mut Followed, done: &mut Done) -> Result {
        let Some(there) = allowed(self.theirs().await, "Consul's", done)? else { return Ok(()) };
        if there.is_empty() && followed.policies.is_empty() {
            return Ok(());
        }
        let Some(here) = allowed(self.ours().await, "this daemon's", done)? else { return Ok(()) };
        for (name, told) in &there {
            let known = here.get(name);
            if known.is_some_and(|(_, known)| known == told) {
                continue;
            }
            match self.set(name, told, known.map(|(id, _)| id)).await {
                Ok(()) => done.policies += 1,
                // A rule about something that is not here: the others are not worse for it.
                Err(failure) => done.notes.push(format!("policy {name:?} stays behind: {}", failure.cause)),
            }
        }
        for name in followed.policies.keys().filter(|name| !there.contains_key(*name)) {
            let Some((id, _)) = here.get(name) else { continue };
            self.to.bounded(self.to.client.delete(&format!("/v1/acl/policy/{id}"))).await?;
            done.gone += 1;
        }
        followed.policies = there;
        Ok(())
    }

    async fn theirs(&self) -> Result<BTreeMap<Text, Told>> {
        let mut found = BTreeMap::new();
        for stub in self.read::<Vec<PolicyStub>>("/v1/acl/policies").await? {
            if !stub.id.starts_with(BUILT_IN) {
                let path = format!("/v1/acl/policy/{}", stub.id);
                let policy: Policy = self.read(&path).await?;
                found.insert(policy.name.clone(), told(policy));
            }
        }
        Ok(found)
    }

    /// With their ids.
    async fn ours(&self) -> Result<BTreeMap<Text, (Text, Told)>> {
        let mut found = BTreeMap::new();
        for stub in self.to.get::<Vec<PolicyStub>>("/v1/acl/policies").await?.value {
            let policy: Policy = self.to.get(&format!("/v1/acl/policy/{}", stub.id)).await?.value;
            found.insert(policy.name.clone(), (stub.id, told(policy)));
        }
        Ok(found)
    }

    async fn set(&self, name: &str, (description, rules, datacenters): &Told, id: Option<&Text>) -> Result {
        let path = match id {
            Some(id) => format!("/v1/acl/policy/{}", encoded(id)),
            None => "/v1/acl/policy".to_owned(),
        };
        let body = json!({
            "Name": name, "Description": description, "Rules": rules, "Datacenters": datacenters,
        });
        self.put(&path, &body).await
    }
}

fn told(policy: Policy) -> Told {
    (policy.description, policy.rules, policy.datacenters.unwrap_or_default())
}

/// None, with a note, where lists are off or may not be read.
fn allowed<T>(read: Result<T>, whose: &str, done: &mut Done) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(failure) if failure.exit == Exit::Denied => {
            if !is_off(&failure) || whose != "Consul's" {
                done.notes
                    .push(format!("policies stay behind: {whose} are not to be had: {}", failure.cause));
            }
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// Where nobody is asked for a token there are no policies to miss.
pub(super) fn is_off(failure: &Failure) -> bool {
    format!("{:#}", failure.cause).contains("ACL support disabled")
}
