//! `agent/connect/ca/leaf/:service`: a service's key and certificate, kept until two thirds of its time are over or
//! another root signs, so that whoever asks again is given the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use catalog::validate;
use consul::connect::Leaf;
use tokio::time::Instant;

use super::authority::alone;
use crate::Api;
use crate::http::{Answer, Failure, Request};
use crate::read::{ReadOptions, Scope, settle, with_fields};

/// Most services whose certificates are kept.
const MOST: usize = 4096;

/// Certificates that were given out, by service.
#[derive(Default)]
pub(crate) struct Leaves(Mutex<HashMap<Arc<str>, Kept>>);

#[derive(Clone)]
struct Kept {
    leaf: Arc<Leaf>,
    /// The root that it leads to.
    root: Arc<str>,
    renew_at_ms: u64,
}

/// `GET agent/connect/ca/leaf/:service`; blocks until there is another.
pub(crate) async fn leaf(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let parts = &request.parts;
    let options = ReadOptions::parse(&parts.query, &api.node.datacenter)?;
    let service = parts.rest.as_str();
    validate::label("service name", service).map_err(|why| Failure::bad_request(why.to_string()))?;
    let deadline = Instant::now() + options.jittered_wait();
    loop {
        let kept = current(&api, service)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if kept.leaf.modify_index > options.index || left.is_zero() || api.drain.is_started() {
            let answer = Answer::json_as(&*kept.leaf, options.pretty)?;
            return Ok(with_fields(&api, answer, kept.leaf.modify_index, &options));
        }
        let until_due = Duration::from_millis(kept.renew_at_ms.saturating_sub(now_ms()));
        let index = api.store.now().cluster().trust_index().max(1);
        let next = ReadOptions { index, wait: left.min(until_due), ..options.clone() };
        settle(&api, &Scope::Trust, &next).await?;
    }
}

/// The certificate that counts now.
fn current(api: &Api, service: &str) -> Result<Kept, Failure> {
    let root = api.cluster.roots().ok_or_else(alone)?.active_root_id;
    let index = api.store.now().index().max(1);
    let mut leaves = api.leaves.0.lock().unwrap_or_else(PoisonError::into_inner);
    let before = leaves.get(service);
    if let Some(kept) = before.filter(|kept| kept.root == root && kept.renew_at_ms > now_ms()) {
        return Ok(kept.clone());
    }
    let index = before.map_or(index, |kept| index.max(kept.leaf.modify_index + 1));
    let made = api.cluster.certify(service)?;
    let leaf = Leaf { create_index: index, modify_index: index, ..made.leaf };
    let kept = Kept { leaf: Arc::new(leaf), root, renew_at_ms: made.renew_at_ms };
    if leaves.len() >= MOST {
        leaves.clear();
    }
    leaves.insert(service.into(), kept.clone());
    Ok(kept)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
