//! From what was asked for to a connection: a name through the map, the services of this host, the catalog and the
//! default route; a URI by its scheme.

use consul::broker::{Problem, ProblemKind};
use route::End;

use crate::answer::denied;
use crate::door::Visit;
use crate::hand::{self, Handed};
use crate::libipc::Folder;
use crate::network;
use crate::scheme::{self, Way};
use crate::uri::Uri;

/// What a program asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// A service's name, or a URI.
    pub(crate) name: &'a str,
    /// Its `IPC_NETWORK`.
    pub(crate) network: Option<&'a str>,
    /// For programs of libipc's: the folder that their services are in, which comes first then.
    pub(crate) folder: Option<&'a Folder>,
}

/// Reaches what is asked for, for whom it is asked.
pub(crate) async fn connect(visit: Visit<'_>, ask: &Ask<'_>) -> Result<Handed, Problem> {
    if ask.network.is_some_and(|network| network.len() > network::LONGEST) {
        return Err(malformed(format!("IPC_NETWORK is longer than {} bytes", network::LONGEST)));
    }
    let target = ask.network.and_then(|network| network::lookup(network, ask.name)).unwrap_or(ask.name);
    if target.contains("://") {
        return by_uri(visit, target, None, ask).await;
    }
    let led = visit.local.with_routes(|routes| routes.lead(target)).map_err(|denial| denied(&denial))?;
    match &led.end {
        End::Service(name) => by_name(visit, name, ask).await,
        End::Uri { name, uri } => by_uri(visit, uri, Some(name), ask).await,
    }
}

async fn by_uri(
    visit: Visit<'_>,
    text: &str,
    led_from: Option<&str>,
    ask: &Ask<'_>,
) -> Result<Handed, Problem> {
    // The text may hold a secret, so it is not repeated.
    let uri =
        Uri::parse(text).map_err(|error| malformed(format!("the URI for \"{}\": {error}", named(ask))))?;
    if uri.credentials.as_ref().is_some_and(|credentials| credentials.is_seed_form) {
        tracing::debug!(%uri, "credentials before the host in ipcd's form; a file would keep them from the environment");
    }
    scheme::connect(visit, &Way { uri: &uri, text, led_from }, ask).await
}

/// A URI that was asked for directly may hold a secret: then its scheme is all of it that is told.
fn named<'a>(ask: &Ask<'a>) -> &'a str {
    ask.name.split_once("://").map_or(ask.name, |(scheme, _)| scheme)
}

async fn by_name(visit: Visit<'_>, name: &str, ask: &Ask<'_>) -> Result<Handed, Problem> {
    if let Some(folder) = ask.folder
        && let Some(handed) = scheme::unix::connect(visit, folder, name).await?
    {
        return Ok(handed);
    }
    let unknown = match hand::connect(visit, name).await {
        Err(problem) if problem.kind == ProblemKind::Unknown => problem,
        done => return done,
    };
    for folder in visit.door.folders.iter().filter(|folder| Some(*folder) != ask.folder) {
        if let Some(handed) = scheme::unix::connect(visit, folder, name).await? {
            return Ok(handed);
        }
    }
    match &visit.door.config.default_route {
        Some(route) => {
            let mut uri =
                Uri::parse(route).map_err(|error| malformed(format!("broker.default_route: {error}")))?;
            if !crate::uri::is_service_name(name) {
                return Err(unknown);
            }
            uri.service.get_or_insert_with(|| name.to_owned());
            let text = uri.to_string();
            scheme::connect(visit, &Way { uri: &uri, text: &text, led_from: Some(name) }, ask).await
        }
        None => Err(unknown),
    }
}

pub(crate) fn malformed(text: impl ToString) -> Problem {
    Problem::new(ProblemKind::Malformed, text)
}
