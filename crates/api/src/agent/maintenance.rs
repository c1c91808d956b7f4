//! Maintenance mode: a critical check that an operator sets and takes away.

use std::sync::Arc;

use acl::{Resource, Right};
use catalog::{CheckDef, CheckRegistration, Command, Deregister, InitialStatus, Probe, Register, Status};

use crate::Api;
use crate::agent::services::submit;
use crate::http::{Answer, Failure, Parts, Request};
use crate::plan::{NODE_MAINTENANCE, SERVICE_MAINTENANCE};

/// `PUT agent/service/maintenance/:id`.
pub(crate) async fn of_service(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let parts = &request.parts;
    let id = parts.rest.as_str();
    if id.is_empty() {
        return Err(Failure::bad_request("Missing service ID"));
    }
    let enable = wanted(parts)?;
    match api.store.now().instance(&api.node.name, id) {
        Some(instance) => parts.may(Resource::Service, Right::Write, &instance.def.service)?,
        None => return Err(Failure::not_found(format!("No service registered with ID {id:?}"))),
    }
    let check = CheckDef {
        id: format!("{SERVICE_MAINTENANCE}{id}").into(),
        name: "Service Maintenance Mode".into(),
        notes: notes(parts, "service"),
        service_id: id.into(),
        ..blank()
    };
    put(&api, check, enable).await
}

/// `PUT agent/maintenance`.
pub(crate) async fn of_node(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let parts = &request.parts;
    let check = CheckDef {
        id: NODE_MAINTENANCE.into(),
        name: "Node Maintenance Mode".into(),
        notes: notes(parts, "node"),
        ..blank()
    };
    put(&api, check, wanted(parts)?).await
}

fn wanted(parts: &Parts) -> Result<bool, Failure> {
    match parts.query.given("enable") {
        None => Err(Failure::bad_request("Missing value for enable")),
        Some("true" | "1" | "t") => Ok(true),
        Some("false" | "0" | "f") => Ok(false),
        Some(_) => Err(Failure::bad_request("Invalid value for enable")),
    }
}

fn notes(parts: &Parts, what: &str) -> Arc<str> {
    match parts.query.given("reason") {
        Some(reason) => reason.into(),
        None => format!("Maintenance mode is enabled for this {what}, but no reason was given.").into(),
    }
}

fn blank() -> CheckDef {
    CheckDef {
        id: "".into(),
        name: "".into(),
        notes: "".into(),
        service_id: "".into(),
        probe: Probe::External,
        deregister_after_ms: None,
        success_before_passing: 0,
        failures_before_warning: 0,
        failures_before_critical: 0,
        definition: None,
    }
}

async fn put(api: &Api, def: CheckDef, enable: bool) -> Result<Answer, Failure> {
    let on = api.node.name.clone();
    if enable {
        let status = InitialStatus::Set(Status::Critical);
        let check = CheckRegistration { def, status, output: "".into() };
        submit(api, Register { node: None, on, instance: None, checks: vec![check] }).await?;
    } else {
        api.store.submit(Command::Deregister(Deregister::Check { node: on, id: def.id })).await?;
    }
    Ok(Answer::empty())
}
