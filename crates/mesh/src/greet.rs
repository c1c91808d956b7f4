//! From a connection whose certificates were believed to a link: the greeting, and for control links the
//! elder's decision.

use std::sync::Arc;

use quinn::{Connection, RecvStream, SendStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::Speaks;
use crate::gate::Seat;
use crate::hello::{self, GreetingError, Hello, Use};
use crate::link::{Close, Link, Proof, now_ms};
use crate::table::Table;

/// What the elder sends when it decided for a link; the decision's number follows, eight bytes.
const DECIDED: u8 = b'D';

/// A link that was greeted, with the stream that it was greeted on.
pub(crate) struct Greeted {
    pub(crate) link: Arc<Link>,
    send: SendStream,
    receive: RecvStream,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoLink {
    #[error(transparent)]
    Greeting(#[from] GreetingError),
    #[error("open the greeting's stream")]
    Connection(#[from] quinn::ConnectionError),
    /// Not a failure: there is a link, or a newer one.
    #[error("there is a link already")]
    NotNeeded,
}

pub(crate) fn own_hello(speaks: Speaks, table: &Table, peer: &str, purpose: Use) -> Hello {
    let needed = purpose == Use::Control && table.control(peer).is_none();
    Hello { speaks, run: table.own_run(), time_ms: now_ms(), purpose, needed }
}

/// The dialler's side.
pub(crate) async fn dialler(connection: Connection, proof: Proof, own: Hello) -> Result<Greeted, NoLink> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(&own.encode()).await.map_err(|error| GreetingError::Broken(error.into()))?;
    let theirs = hello::read_answer(&mut receive).await?;
    let version = hello::common_version(own.speaks, theirs.speaks)?;
    let theirs = Hello { purpose: own.purpose, ..theirs };
    let link = Arc::new(Link::new(connection, proof, theirs, version, true, None));
    Ok(Greeted { link, send, receive })
}

/// The acceptor's side. `own` is completed with what the link is for.
pub(crate) async fn acceptor(
    connection: Connection,
    proof: Proof,
    own: Hello,
    seat: Seat,
) -> Result<Greeted, NoLink> {
    let (mut send, mut receive) = connection.accept_bi().await?;
    let theirs = hello::read(&mut receive).await?;
    let version = match hello::common_version(own.speaks, theirs.speaks) {
        Ok(version) => version,
        Err(error) => {
            hello::refuse(&mut send, &error.to_string()).await.map_err(GreetingError::Broken)?;
            // The reason must arrive before the connection goes.
            let _ = send.finish();
            let _ = send.stopped().await;
            return Err(error.into());
        }
    };
    let mut answer = vec![0];
    answer.extend_from_slice(&Hello { purpose: theirs.purpose, ..own }.encode());
    send.write_all(&answer).await.map_err(|error| GreetingError::Broken(error.into()))?;
    let link = Arc::new(Link::new(connection, proof, theirs, version, false, Some(seat)));
    Ok(Greeted { link, send, receive })
}

impl Greeted {
    /// Finds the link its place in the table: the session of a control link, none for others.
    pub(crate) async fn settle(self, own_name: &str, table: &Table) -> Result<Option<u64>, NoLink> {
        let Greeted { link, mut send, mut receive } = self;
        if link.purpose() != Use::Control {
            table.add_data(&link);
            return Ok(None);
        }
        if own_name < link.peer.name.as_str() {
            let Some(session) = table.decide(&link) else {
                link.close(Close::NotNeeded, "there is a link already");
                return Err(NoLink::NotNeeded);
            };
            let mut word = vec![DECIDED];
            word.extend_from_slice(&session.to_be_bytes());
            send.write_all(&word).await.map_err(broken)?;
            return Ok(Some(session));
        }
        if receive.read_u8().await.map_err(GreetingError::Broken)? != DECIDED {
            return Err(GreetingError::Malformed("the decision is none").into());
        }
        let decision = receive.read_u64().await.map_err(GreetingError::Broken)?;
        let Some(session) = table.follow(&link, decision) else {
            link.close(Close::Replaced, "a newer link took its place");
            return Err(NoLink::NotNeeded);
        };
        let _ = send.shutdown().await;
        Ok(Some(session))
    }
}

fn broken(error: quinn::WriteError) -> NoLink {
    GreetingError::Broken(error.into()).into()
}
