//! `portolan/exposures`: what shall be reachable from outside. A wish is a command; how it stands is told by
//! whoever carries it out on this node.

use std::sync::Arc;

use catalog::exposure::{ExposureCommand, ExposureDef, public_name};
use catalog::validate::Invalid;
use catalog::{Command, Refusal};
use consul::exposure::Wish;

use crate::Api;
use crate::catalog_paths::named;
use crate::http::{Answer, Failure, Parts, Request, decode};

/// A wish is a list of ports and names.
const MAX_BODY: usize = 256 << 10;

/// `GET portolan/exposures`: as this node sees and carries them out.
pub(crate) fn list(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    Answer::json_as(&api.exposure.exposures(), parts.query.has("pretty"))
}

/// `PUT portolan/exposure/:service`: all that the service shall be outside; what was wished before is replaced.
pub(crate) async fn set(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let service = named(&request.parts, "service name")?;
    let (_, body) = request.body(MAX_BODY).await?;
    let wish: Wish = decode(&body)?;
    let ports = wish.ports.iter().map(|text| read(text.parse())).collect::<Result<_, _>>()?;
    let name =
        |text: &consul::Text| read(public_name(text).map_err(|rule| Invalid::new("public name", text, rule)));
    let names = wish.names.iter().map(name).collect::<Result<_, _>>()?;
    let def = ExposureDef { service, ports, names, via: wish.via, https: wish.https };
    let applied = api.store.submit(Command::Expose(ExposureCommand::Set(def))).await?;
    Ok(Answer::truth(applied.outcome.is_change()))
}

fn read<T>(result: Result<T, Invalid>) -> Result<T, Failure> {
    result.map_err(|error| Refusal::from(error).into())
}

/// `PUT portolan/firewall/:word`: a firewall of this node's own that is on trial may stay (`confirm`), or is tried once more
/// (`try`).
pub(crate) async fn firewall(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let word = named(&request.parts, "confirm or try")?;
    api.exposure.firewall(&word)?;
    Ok(Answer::truth(true))
}

/// `DELETE portolan/exposure/:service`.
pub(crate) async fn remove(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let service = named(&request.parts, "service name")?;
    let applied = api.store.submit(Command::Expose(ExposureCommand::Remove { service })).await?;
    Ok(Answer::truth(applied.outcome.is_change()))
}
