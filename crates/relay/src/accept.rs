//! Accepting connections, and dealing each to the less busy of two threads.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use state::Drain;

use crate::limit::{Full, Limits, Place};
use crate::local::Local;

/// What is done with a connection. One value serves all threads.
pub trait Accept: Send + Sync + 'static {
    /// Takes over an accepted socket on the thread that it was dealt to. `place` counts it against the
    /// limits for as long as it is kept.
    fn accept(&self, local: &Rc<Local>, socket: TcpStream, peer: SocketAddr, place: Place);
}

/// How long accepting rests after it failed: there are no descriptors or no memory, and a busy loop would
/// not bring them back.
const REST: Duration = Duration::from_millis(100);
/// Connections accepted, or taken from another thread, before those that there are have their turns.
const MOST_IN_A_ROW: u32 = 16;

/// Accepts on one socket until the drain starts or `stop` resolves; then the socket is closed, and what was
/// accepted lives on.
pub async fn serve(
    local: Rc<Local>,
    listener: TcpListener,
    limits: Arc<Limits>,
    accept: Arc<dyn Accept>,
    drain: Drain,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = sys::listen::Acceptor::new(listener)?;
    tokio::pin!(stop);
    let drained = drain.started();
    tokio::pin!(drained);
    let mut in_a_row = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut drained => return Ok(()),
            () = &mut stop => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                deal(&local, &limits, &accept, socket, peer);
                give_way(&mut in_a_row).await;
            }
            Err(cause) if is_the_peers(&cause) => {}
            Err(cause) => {
                local.metrics().accept_failures.inc();
                tracing::warn!(%cause, "cannot accept a connection");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// Lets others have their turns after every so many: a crowd of newcomers must not stop who is here.
pub(crate) async fn give_way(in_a_row: &mut u32) {
    *in_a_row += 1;
    if *in_a_row == MOST_IN_A_ROW {
        *in_a_row = 0;
        tokio::task::yield_now().await;
    }
}

/// Errors that tell of the connection and not of the listener, see accept(2).
fn is_the_peers(cause: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, NetworkDown, NetworkUnreachable};
    matches!(
        cause.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | NetworkDown | NetworkUnreachable
    )
}

fn deal(
    local: &Rc<Local>,
    limits: &Arc<Limits>,
    accept: &Arc<dyn Accept>,
    socket: TcpStream,
    peer: SocketAddr,
) {
    let place = match limits.enter(peer.ip()) {
        Ok(place) if local.has_memory() => place,
        Ok(_) => return local.metrics().refused(Full::Memory),
        Err(full) => return local.metrics().refused(full),
    };
    let load = |thread: usize| local.threads()[thread].load.load(Relaxed);
    match local.another().filter(|another| load(*another) < load(local.index())) {
        None => accept.accept(local, socket, peer, place),
        Some(another) => {
            let accept = accept.clone();
            let job = move |local: &Rc<Local>| accept.accept(local, socket, peer, place);
            local.threads()[another].run(Box::new(job));
        }
    }
}
