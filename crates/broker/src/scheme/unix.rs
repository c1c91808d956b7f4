//! `unix:///service`: a service in one of libipc's folders, by its own socket.

use std::rc::Rc;
use std::sync::Arc;

use consul::broker::{Problem, ProblemKind, Socket};
use relay::Local;
use route::Caller;

use crate::answer::denied;
use crate::door::{Door, UNIX, Who};
use crate::hand::{Handed, out_of_the_way};
use crate::libipc::Folder;
use crate::reach::Ask;
use crate::uri::Uri;

pub(super) async fn by_uri(
    door: &Arc<Door>,
    local: &Rc<Local>,
    who: &Who,
    uri: &Uri,
    ask: &Ask<'_>,
) -> Result<Handed, Problem> {
    let name = uri.service.as_deref().unwrap_or_default();
    for folder in super::folders(door, ask) {
        if let Some(handed) = connect(door, local, who, folder, name).await? {
            return Ok(handed);
        }
    }
    let text = match door.folders.is_empty() {
        true => format!("no folder for \"{name}\" to be in: `broker.libipc` names them"),
        false => format!("no service \"{name}\" listens in libipc's folders here"),
    };
    Err(Problem::new(ProblemKind::Unknown, text))
}

/// A connection to a service of a folder; `None` when there is no such service.
pub(crate) async fn connect(
    door: &Arc<Door>,
    local: &Rc<Local>,
    who: &Who,
    folder: &Folder,
    name: &str,
) -> Result<Option<Handed>, Problem> {
    let unreachable = |cause| {
        Problem::new(ProblemKind::Unreachable, format!("reach the local service \"{name}\": {cause}"))
    };
    let Some(socket) = folder.connect(name).await.map_err(unreachable)? else { return Ok(None) };
    // Judged once it is known that there is something to be judged; nothing was said on it yet.
    local
        .with_routes(|routes| routes.permit_to(Caller::by(&who.principal, UNIX), name))
        .map_err(|denial| denied(&denial))?;
    let to = folder.path.join(name).display().to_string();
    let mut connected = crate::answer::connected(Socket::Unix, to);
    connected.service = name.into();
    out_of_the_way(door, socket, connected).map(Some)
}
