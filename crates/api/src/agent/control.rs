//! `agent/reload`, `agent/join`, `agent/leave`.

use std::sync::Arc;
use std::time::Duration;

use catalog::NodeEntry;
use http::StatusCode;
use tokio::time::timeout;

use crate::Api;
use crate::http::{Answer, Failure, Parts, Request};
use crate::inputs::Wish;
use crate::plan::NODE_ALIVE;

/// How long an answer waits for what the files define; it goes on after that.
const PATIENCE: Duration = Duration::from_secs(10);

/// `PUT agent/reload`: what stands in files is registered when it answers, as in Consul.
pub(crate) async fn reload(api: Arc<Api>, _: Request) -> Result<Answer, Failure> {
    let reloaded = api.control.reload();
    reloaded.map_err(|why| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("reload: {why}")))?;
    let _ = timeout(PATIENCE, api.control.settled()).await;
    Ok(Answer::empty())
}

pub(crate) fn leave(api: &Api, _: &Parts) -> Result<Answer, Failure> {
    api.control.leave();
    Ok(Answer::empty())
}

/// `PUT agent/join/:address`: a member is one already. Whoever is not joins by a token of the cluster's, with which an
/// address alone cannot compete.
pub(crate) fn join(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    let host = host_of(&parts.rest);
    let now = api.store.now();
    match *host == *api.node.address
        || now.nodes().any(|entry| is_member(entry) && *entry.def.address == *host)
    {
        true => Ok(Answer::empty()),
        false => Err(Failure::absent(&format!(
            "no member is at {host:?}; joining by an address alone, without a token (`portolan join TOKEN`), is"
        ))),
    }
}

fn is_member(entry: &NodeEntry) -> bool {
    entry.checks.iter().any(|check| &*check.def.id == NODE_ALIVE)
}

/// The host of `host:port`, `[v6]:port`, or a host alone.
fn host_of(address: &str) -> &str {
    match address.rsplit_once(':') {
        Some((host, _)) if host.starts_with('[') || !host.contains(':') => host.trim_matches(['[', ']']),
        _ => address,
    }
}

/// `PUT agent/force-leave/:node`: a member that the others have given up is removed. Who is alive stays, as in Consul.
pub(crate) async fn force_leave(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let name = request.parts.rest.as_str();
    let member = api.cluster.members().into_iter().find(|member| &*member.name == name);
    match member {
        Some(member) if &*member.status == "dead" => {
            api.cluster.carry_out(Wish::Remove(member.name)).await?;
        }
        None if api.store.now().node(name).is_none() => {
            let why = format!("agent: No node found with name '{name}'");
            return Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, why));
        }
        _ => {}
    }
    Ok(Answer::empty())
}
