//! Opening streams.

use std::sync::Arc;

use crate::carrier;
use crate::dial::{self, DialError};
use crate::link::{Link, ending};
use crate::mesh::Shared;
use crate::preface::Kind;
use crate::stream::Stream;

/// How a stream travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// On the one control link of the pair: for what is small and must be in time. It is never dialled for a
    /// stream; while there is none, opening fails.
    Control,
    /// On a data link, which is dialled when there is none.
    Data,
    /// By TLS over TCP, a connection of its own: a third of QUIC's work per byte. Where TCP does not get
    /// through, as [`Lane::Data`].
    Bulk,
}

/// A stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No control link for now.
    #[error("{0:?} is not linked at the moment")]
    NotLinked(String),
    /// The peer could not be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The link broke.
    #[error("open a stream to {peer:?}: {cause}")]
    Broken {
        /// To whom.
        peer: String,
        /// Why the link ended.
        cause: String,
    },
    /// The mesh is closed.
    #[error("the mesh is closed")]
    Closed,
}

impl Shared {
    pub(crate) async fn open(
        self: &Arc<Self>,
        peer: &str,
        kind: Kind,
        lane: Lane,
    ) -> Result<Stream, OpenError> {
        match lane {
            Lane::Control => self.open_in_session(peer, kind, None).await,
            Lane::Data => self.open_data(peer, kind).await,
            Lane::Bulk => match carrier::open(self, peer, kind).await {
                Ok(stream) => Ok(stream),
                Err(error) => {
                    tracing::debug!(peer, %error, "bulk goes by QUIC");
                    self.open_data(peer, kind).await
                }
            },
        }
    }

    pub(crate) async fn open_in_session(
        &self,
        peer: &str,
        kind: Kind,
        session: Option<u64>,
    ) -> Result<Stream, OpenError> {
        let control = self.table.control(peer);
        let control = control.filter(|control| session.is_none_or(|wanted| wanted == control.session));
        let control = control.ok_or_else(|| OpenError::NotLinked(peer.to_owned()))?;
        open_on(&control.link, kind).await
    }

    async fn open_data(self: &Arc<Self>, peer: &str, kind: Kind) -> Result<Stream, OpenError> {
        if let Some(link) = self.table.data(peer) {
            return open_on(&link, kind).await;
        }
        let (shared, name) = (self.clone(), peer.to_owned());
        // The link's tasks must live on the mesh's own runtime, whoever asks first.
        let dialled = self.data.spawn(async move { dial::data(&shared, &name).await });
        let link = dialled.await.map_err(|_| OpenError::Closed)??;
        open_on(&link, kind).await
    }
}

async fn open_on(link: &Link, kind: Kind) -> Result<Stream, OpenError> {
    let opened = link.connection.open_bi().await;
    let broken = |error| OpenError::Broken { peer: link.peer.name.clone(), cause: ending(&error).0 };
    let (send, receive) = opened.map_err(broken)?;
    Ok(Stream::opened(send, receive, kind))
}
