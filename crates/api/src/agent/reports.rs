//! `agent/check/{pass,warn,fail,update}/:id`: reports of TTL checks. The deadline moves at once; the log
//! hears of changes only.

use std::sync::Arc;
use std::time::Instant;

use acl::{Resource, Right};
use catalog::{Snapshot, Status};
use consul::register::CheckUpdate;
use lease::{ReportError, Sign, checks_elsewhere};

use crate::Api;
use crate::agent::services::pass_on;
use crate::http::{Answer, Failure, Parts, Request};

pub(crate) async fn pass(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    noted(api, request, Status::Passing).await
}

pub(crate) async fn warn(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    noted(api, request, Status::Warning).await
}

pub(crate) async fn fail(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    noted(api, request, Status::Critical).await
}

/// A report with its output in the `note` parameter.
async fn noted(api: Arc<Api>, request: Request, status: Status) -> Result<Answer, Failure> {
    let parts = &request.parts;
    report(&api, parts, status, parts.query.get("note").unwrap_or_default()).await
}

/// A report with status and output in the body.
pub(crate) async fn update(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = request.json::<CheckUpdate>(api.config.max_body()).await?;
    let status = Status::parse(&sent.status)
        .ok_or_else(|| Failure::bad_request(format!("Invalid check status: '{}'", sent.status)))?;
    report(&api, &parts, status, &sent.output).await
}

async fn report(api: &Api, parts: &Parts, status: Status, output: &str) -> Result<Answer, Failure> {
    let (snapshot, id) = (api.store.now(), parts.rest.as_str());
    let (node, now) = (&api.node.name, Instant::now());
    may_report(parts, &snapshot, node, id)?;
    let command = match api.leases.report(&snapshot, node, id, status, output, now) {
        Ok(command) => command,
        Err(ReportError::NotTtl { .. }) => {
            return Err(Failure::bad_request(format!("CheckID {id:?} does not have associated TTL")));
        }
        Err(ReportError::Elsewhere { .. }) => return there(api, node, id, status, output).await,
        Err(ReportError::Unknown { .. }) => match &checks_elsewhere(&snapshot, node, id)[..] {
            [other] => return there(api, other, id, status, output).await,
            _ => {
                return Err(Failure::not_found(format!(
                    "Unknown check ID {id:?}. Ensure that the check ID is passed, not the check name."
                )));
            }
        },
    };
    // A sign of life of one check renews the lease of the instance that it judges.
    if status != Status::Critical
        && let Some(check) = snapshot.check(node, id)
        && !check.def.service_id.is_empty()
    {
        // Without a lease, or with one kept elsewhere, there is nothing to renew.
        let _ = api.leases.renew(&snapshot, node, &check.def.service_id, now);
    }
    if let Some(command) = command {
        api.store.submit(command).await?;
    }
    Ok(Answer::empty())
}

/// Judges by what every check of that id judges, wherever it is.
fn may_report(parts: &Parts, now: &Snapshot, node: &Arc<str>, id: &str) -> Result<(), Failure> {
    parts.caller.has_asked();
    let elsewhere = checks_elsewhere(now, node, id);
    for check in [node].into_iter().chain(&elsewhere).filter_map(|node| now.check(node, id)) {
        match check.def.service_id.is_empty() {
            true => parts.may(Resource::Node, Right::Write, &check.node)?,
            false => parts.may(Resource::Service, Right::Write, &check.service)?,
        }
    }
    Ok(())
}

/// A report for a check whose deadline another node keeps.
async fn there(
    api: &Api,
    node: &Arc<str>,
    id: &str,
    status: Status,
    output: &str,
) -> Result<Answer, Failure> {
    let sign = Sign::Report { node: node.clone(), id: id.into(), status, output: output.into() };
    pass_on(api, sign).await.map(|_| Answer::empty())
}
