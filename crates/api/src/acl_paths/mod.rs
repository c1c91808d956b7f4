//! `acl/*`: tokens, policies and roles, in Consul's words.
//!
//! Secrets are told once, when they are made: the catalog keeps their hashes alone, and what is read later shows
//! `<hidden>`, as Consul shows a secret to whoever may not write.

pub(crate) mod links;
pub(crate) mod policies;
pub(crate) mod roles;
pub(crate) mod shapes;
pub(crate) mod tokens;

use std::sync::Arc;

use acl::Who;
use catalog::acl::DefaultPolicy;
use catalog::{AclCommand, AclToken, Command};
use consul::acl::{AgentToken, Bootstrap, Token};
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::Api;
use crate::http::{Answer, Failure, Parts, Request, decode};
use crate::ids::new_id;
use crate::read::{check_datacenter, check_tenancy};

/// # Errors
/// What Consul answers where nobody is asked for a token, which is how clients find that out.
fn enabled(parts: &Parts) -> Result<(), Failure> {
    match parts.caller.principal().who {
        Who::Everybody => Err(Failure::new(StatusCode::UNAUTHORIZED, "ACL support disabled")),
        _ => check_tenancy(&parts.query),
    }
}

/// What Consul answers to a wish that cannot be meant.
fn wrong(message: impl Into<String>) -> Failure {
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}

/// What Consul answers to whoever shows no token and asks about it.
fn no_token() -> Failure {
    Failure::new(StatusCode::FORBIDDEN, "ACL not found")
}

/// What Consul answers since 1.12 when there is no such token or policy; before, it was 403.
fn not_found(what: &str) -> Failure {
    Failure::not_found(format!("Requested {what} does not exist: ACL not found"))
}

/// Consul finds these by UUIDs alone. An operator's token has another kind of id, and is found by it.
fn checked_uuid(what: &str, text: &str) -> Result<(), Failure> {
    let is_id = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    match is_id(text) {
        true => Ok(()),
        false => Err(Failure::bad_request(format!(
            "failed acl {what} lookup: index error: UUID must be 36 characters, and {text:?} is none"
        ))),
    }
}

/// Reads a body that must be there.
async fn body<T: DeserializeOwned>(api: &Api, request: Request, what: &str) -> Result<(Parts, T), Failure> {
    enabled(&request.parts)?;
    check_datacenter(request.parts.query.get("dc"), &api.node.datacenter)?;
    let (parts, bytes) = request.body(api.config.max_body()).await?;
    if bytes.is_empty() {
        return Err(Failure::bad_request(format!("Bad request: {what} decoding failed: EOF")));
    }
    let sent = consul::decode(&bytes)
        .map_err(|why| Failure::bad_request(format!("Bad request: {what} decoding failed: {why}")))?;
    Ok((parts, sent))
}

async fn submit(api: &Api, command: AclCommand) -> Result<(), Failure> {
    api.store.submit(Command::Acl(command)).await?;
    Ok(())
}

/// `PUT acl/bootstrap`: the first token that may do everything; once, or again with the index that the refusal
/// told, in the file `acl-bootstrap-reset` of the data directory.
pub(crate) async fn bootstrap(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    enabled(&request.parts)?;
    let (parts, bytes) = request.body(api.config.max_body()).await?;
    let sent: Bootstrap = if bytes.is_empty() { Bootstrap::default() } else { decode(&bytes)? };
    let secret = match sent.bootstrap_secret.is_empty() {
        true => new_id()?,
        false => tokens::checked_id("SecretID", &sent.bootstrap_secret)?,
    };
    let accessor = new_id()?;
    let token = AclToken {
        accessor: accessor.clone(),
        secret: acl::hash(&secret),
        description: "Bootstrap Token (Global Management)".into(),
        links: Default::default(),
        local: false,
        expires_ms: None,
        created_ms: 0,
        create_index: 0,
        modify_index: 0,
    };
    let reset = reset_index(&api);
    submit(&api, AclCommand::Bootstrap { token: Box::new(token), reset }).await?;
    if let Some(file) = api.config.bootstrap_reset.as_ref().filter(|_| reset.is_some()) {
        // Used up, whether or not it can be taken away: the index is another now.
        let _ = std::fs::remove_file(file);
    }
    let shown = Token { id: secret.clone(), ..tokens::made(&api, &accessor, &secret)? };
    Answer::json_as(&shown, parts.query.has("pretty"))
}

/// What an operator with access to this host's files wrote.
fn reset_index(api: &Api) -> Option<u64> {
    let text = std::fs::read_to_string(api.config.bootstrap_reset.as_ref()?).ok()?;
    text.trim().parse().ok()
}

/// `GET acl/replication`: there is one list, on every server.
pub(crate) fn replication(_: &Api, parts: &Parts) -> Result<Answer, Failure> {
    enabled(parts)?;
    let body = json!({
        "Enabled": false, "Running": false, "SourceDatacenter": "", "ReplicationType": "",
        "ReplicatedIndex": 0, "ReplicatedRoleIndex": 0, "ReplicatedTokenIndex": 0,
        "LastSuccess": "0001-01-01T00:00:00Z", "LastError": "0001-01-01T00:00:00Z",
    });
    Answer::json_as(&body, parts.query.has("pretty"))
}

/// `PUT portolan/acl/default/:policy`: what holds where no rule says anything. Also before anybody is asked.
pub(crate) async fn set_default(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let word = request.parts.rest.as_str();
    let policy = DefaultPolicy::parse(word).ok_or_else(|| {
        Failure::bad_request(format!("the default is allow, read or deny, and not {word:?}"))
    })?;
    submit(&api, AclCommand::SetDefault(policy)).await?;
    Ok(Answer::truth(true))
}

/// `PUT agent/token/:kind`. The default token counts for requests to this node that show none, until the daemon
/// ends. The others would be for what the agent does itself, which it may do here by being a member.
pub(crate) async fn agent_token(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    enabled(&request.parts)?;
    let (parts, sent) = request.json::<AgentToken>(api.config.max_body()).await?;
    match parts.rest.as_str() {
        "default" | "acl_token" => {
            let secret = (!sent.token.is_empty()).then(|| acl::hash(&sent.token));
            api.desk.set_default_token(secret);
        }
        "agent"
        | "acl_agent_token"
        | "agent_master"
        | "acl_agent_master_token"
        | "agent_recovery"
        | "dns"
        | "replication"
        | "acl_replication_token"
        | "config_file_service_registration" => {}
        other => return Err(Failure::not_found(format!("Token {other:?} is unknown"))),
    }
    Ok(Answer::empty())
}
