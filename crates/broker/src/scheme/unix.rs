//! `unix:///service`: a service in one of libipc's folders, by its own socket.

use consul::broker::{Problem, ProblemKind, Socket};
use route::Caller;

use crate::answer::denied;
use crate::door::{UNIX, Visit};
use crate::hand::{Handed, out_of_the_way};
use crate::libipc::Folder;
use crate::reach::Ask;
use crate::uri::Uri;

pub(super) async fn by_uri(visit: Visit<'_>, uri: &Uri, ask: &Ask<'_>) -> Result<Handed, Problem> {
    let name = uri.service.as_deref().unwrap_or_default();
    for folder in super::folders(visit.door, ask) {
        if let Some(handed) = connect(visit, folder, name).await? {
            return Ok(handed);
        }
    }
    let text = match visit.door.folders.is_empty() {
        true => format!("no folder for \"{name}\" to be in: `broker.libipc` names them"),
        false => format!("no service \"{name}\" listens in libipc's folders here"),
    };
    Err(Problem::new(ProblemKind::Unknown, text))
}

/// A connection to a service of a folder; `None` when there is no such service.
pub(crate) async fn connect(
    visit: Visit<'_>,
    folder: &Folder,
    name: &str,
) -> Result<Option<Handed>, Problem> {
    let unreachable = |cause| {
        Problem::new(ProblemKind::Unreachable, format!("reach the local service \"{name}\": {cause}"))
    };
    let Some(socket) = folder.connect(name).await.map_err(unreachable)? else { return Ok(None) };
    // Judged once it is known that there is something to be judged; nothing was said on it yet.
    let who = visit.who;
    visit
        .local
        .with_routes(|routes| routes.permit_to(Caller::by(&who.principal, UNIX), name))
        .map_err(|denial| denied(&denial))?;
    let to = folder.path.join(name).display().to_string();
    let mut connected = crate::answer::connected(Socket::Unix, to);
    connected.service = name.into();
    out_of_the_way(visit.door, socket, connected).map(Some)
}
