//! `agent/check/{pass,warn,fail,update}/:id`: reports of TTL checks. The deadline moves at once; the log
//! hears of changes only.

use std::sync::Arc;
use std::time::Instant;

use catalog::Status;
use consul::register::CheckUpdate;
use http::StatusCode;
use lease::ReportError;

use crate::Api;
use crate::http::{Answer, Failure, Request};

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
    report(&api, &parts.rest, status, parts.query.get("note").unwrap_or_default()).await
}

/// A report with status and output in the body.
pub(crate) async fn update(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = request.json::<CheckUpdate>(api.config.max_body()).await?;
    let status = Status::parse(&sent.status)
        .ok_or_else(|| Failure::bad_request(format!("Invalid check status: '{}'", sent.status)))?;
    report(&api, &parts.rest, status, &sent.output).await
}

async fn report(api: &Api, id: &str, status: Status, output: &str) -> Result<Answer, Failure> {
    let snapshot = api.store.now();
    let (node, now) = (&api.node.name, Instant::now());
    let command =
        api.leases.report(&snapshot, node, id, status, output, now).map_err(|error| match error {
            ReportError::Unknown { .. } => Failure::not_found(format!(
                "Unknown check ID {id:?}. Ensure that the check ID is passed, not the check name."
            )),
            ReportError::NotTtl { .. } => {
                Failure::bad_request(format!("CheckID {id:?} does not have associated TTL"))
            }
            ReportError::Elsewhere { .. } => Failure::new(StatusCode::CONFLICT, error.to_string()),
        })?;
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
