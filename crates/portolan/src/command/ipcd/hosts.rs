//! Hosts in rules about those who prove no name: their addresses are what is judged, and are asked for again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use catalog::Action;
use route::{Here, Routes};
use state::{Drain, Publisher};

use super::rules::Said;

/// Between two looks at the addresses.
const LOOK: Duration = Duration::from_secs(60);

type Known = BTreeMap<String, Vec<IpAddr>>;

/// The rules with the addresses of now.
///
/// # Errors
/// A host that a rule refuses and that has no address: its connections would pass.
pub(super) async fn first(said: &Said) -> anyhow::Result<Here> {
    let known = look(said, &Known::new()).await;
    for (host, addresses) in known.iter().filter(|(_, addresses)| addresses.is_empty()) {
        anyhow::ensure!(
            !said.goes_by_addresses(host, Action::Deny),
            "--deny in … {host}: this host has no address that could be refused"
        );
        if said.goes_by_addresses(host, Action::Allow) {
            tracing::warn!(host, ?addresses, "this host has no address now, so nothing from it is let in");
        }
    }
    Ok(said.here(&|host| known.get(host).cloned().unwrap_or_default()))
}

/// Asks again from time to time, until the drain starts.
pub(super) async fn follow(said: Said, routes_of: Publisher<Routes>, drain: Drain) {
    let mut known = Known::new();
    if said.hosts().next().is_none() {
        return drain.started().await;
    }
    loop {
        let found = look(&said, &known).await;
        if found != known {
            known = found;
            let here = said.here(&|host| known.get(host).cloned().unwrap_or_default());
            let advanced = routes_of.now().with_here(&catalog::Snapshot::default(), Arc::new(here));
            routes_of.publish(advanced);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = drain.started() => return,
        }
    }
}

/// The addresses of every host; those from before where nobody can say.
async fn look(said: &Said, before: &Known) -> Known {
    let mut known = Known::new();
    for host in said.hosts() {
        let addresses = match tokio::net::lookup_host((host, 0)).await {
            Ok(found) => found.map(|address| address.ip()).collect(),
            Err(error) => {
                tracing::warn!(host, %error, "look up the addresses of a host in a rule");
                before.get(host).cloned().unwrap_or_default()
            }
        };
        known.insert(host.to_owned(), addresses);
    }
    known
}
