//! `snapshot`: the whole state as an archive, and back.
//!
//! The outer form is Consul's: a gzip tar of `meta.json`, `state.bin` and `SHA256SUMS`. What is in `state.bin` is
//! ours, so neither can restore the other's; `portolan import consul` takes over from a running Consul.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use catalog::restore::{MAX_PART, MAX_STAGED};
use catalog::{Command, Outcome, RestoreCommand, checkpoint};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::Api;
use crate::http::{Answer, Failure, Request};
use crate::ids::new_id;
use crate::read::{ReadOptions, Scope, settle, with_fields};

/// Name of the file that says what an archive is of.
const META: &str = "meta.json";
/// Name of the file with the state.
const STATE: &str = "state.bin";
/// Most bytes of an archive as it is sent: what is in it is text, and shrinks to a tenth.
const MAX_ARCHIVE: usize = 512 << 20;
const GZIP: HeaderValue = HeaderValue::from_static("application/x-gzip");

/// `GET snapshot`: without `stale`, everything that was decided before the request is in it.
pub(crate) async fn save(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let options = ReadOptions::parse(&request.parts.query, &api.node.datacenter)?;
    let options = ReadOptions { index: 0, ..options };
    let (snapshot, _) = settle(&api, &Scope::Nodes, &options).await?;
    let index = snapshot.index();
    let (node, datacenter) = (api.node.name.clone(), api.node.datacenter.clone());
    // It takes a while where there is much, and nobody else should wait for that.
    let packed = tokio::task::spawn_blocking(move || pack(&snapshot, &node, &datacenter));
    let packed = packed.await.map_err(|why| internal(format!("pack the archive: {why}")))??;
    let answer = Answer { content_type: Some(GZIP), body: packed.into(), ..Answer::empty() };
    Ok(with_fields(&api, answer, index.max(1), &options))
}

fn pack(snapshot: &catalog::Snapshot, node: &str, datacenter: &str) -> Result<Vec<u8>, Failure> {
    let mut state = Vec::new();
    checkpoint::write(&snapshot.to_archive(), &mut state)
        .map_err(|why| internal(format!("write the state: {why}")))?;
    let time_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let meta = json!({
        "Version": 1, "ID": format!("0-{}-{time_s}", snapshot.index()), "Index": snapshot.index(), "Term": 0,
        "Size": state.len(), "Format": format!("portolan/{}", checkpoint::CHECKPOINT_VERSION),
        "Node": node, "Datacenter": datacenter,
    });
    Ok(archive::pack(&[(META, meta.to_string().as_bytes()), (STATE, &state)], time_s))
}

/// `PUT snapshot`: the state becomes the archive's, in one step of the order.
pub(crate) async fn restore(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    crate::read::check_datacenter(request.parts.query.get("dc"), &api.node.datacenter)?;
    let (_, body) = request.body(MAX_ARCHIVE).await?;
    let state = tokio::task::spawn_blocking(move || unpack(&body));
    let state = state.await.map_err(|why| internal(format!("unpack the archive: {why}")))??;
    let id = new_id()?;
    let mut parts = 0;
    while parts * MAX_PART < state.len() {
        let bytes = state.slice(parts * MAX_PART..state.len().min((parts + 1) * MAX_PART));
        submit(&api, RestoreCommand::Part { id: id.clone(), number: parts as u64, bytes }).await?;
        parts += 1;
    }
    submit(&api, RestoreCommand::Commit { id, parts: parts as u64 }).await?;
    Ok(Answer::empty())
}

/// The state of an archive. Whatever is wrong with it is found here, before the log hears of it.
fn unpack(body: &[u8]) -> Result<Bytes, Failure> {
    let refuse = |why: String| Failure::bad_request(format!("restore a snapshot: {why}"));
    let files = archive::unpack(body, MAX_STAGED).map_err(|why| refuse(why.to_string()))?;
    let state = files.into_iter().find(|file| file.name == STATE);
    let state = Bytes::from(state.ok_or_else(|| refuse(format!("there is no {STATE} in it")))?.bytes);
    match checkpoint::read(&state[..]) {
        Ok(_) => Ok(state),
        Err(why) => Err(refuse(format!(
            "{why}. If it was saved by Consul itself: its state cannot be read; see `portolan import consul`"
        ))),
    }
}

async fn submit(api: &Api, command: RestoreCommand) -> Result<(), Failure> {
    match api.store.propose(Command::Restore(command)).await?.outcome {
        Outcome::Refused(refusal) => Err(refusal.into()),
        _ => Ok(()),
    }
}

fn internal(message: String) -> Failure {
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}
