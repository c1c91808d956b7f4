//! A port on loopback for a service that has none: what other programs of this host come by. Whoever connects is asked
//! about by its user, as at the broker itself.

use std::borrow::Cow;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use relay::pump::{self, Prefix};
use relay::{Local, Stream};
use route::{Caller, Permit, Principal};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::{Offers, Place};
use crate::door::Door;
use crate::seats::User;

const TCP: &Cow<'static, str> = &Cow::Borrowed("tcp");

/// What everybody who comes by a port is led to.
struct Port {
    door: Arc<Door>,
    local: Rc<Local>,
    place: Arc<Place>,
    service: Arc<str>,
    here: SocketAddr,
}

/// Opens one. It is closed when the task is aborted, or when the program closes what it offered: then the offer is over.
pub(super) fn serve(
    door: &Arc<Door>,
    local: &Rc<Local>,
    offers: &Arc<Offers>,
    id: &Arc<str>,
    place: Arc<Place>,
    service: Arc<str>,
) -> io::Result<(SocketAddr, AbortHandle)> {
    let listener = sys::listen::tcp((Ipv4Addr::LOCALHOST, 0).into(), sys::listen::Sharing::Exclusive)?;
    let listener = TcpListener::from_std(listener)?;
    let here = listener.local_addr()?;
    let (offers, id) = (offers.clone(), id.clone());
    let port =
        Rc::new(Port { door: door.clone(), local: local.clone(), place: place.clone(), service, here });
    let serving = tokio::task::spawn_local(async move {
        tokio::select! {
            () = accept(&port, listener) => {}
            () = place.closed() => offers.withdraw(&id),
        }
    });
    Ok((here, serving.abort_handle()))
}

async fn accept(port: &Rc<Port>, listener: TcpListener) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            // Out of descriptors, most likely.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let port = port.clone();
        tokio::task::spawn_local(async move {
            let busy = port.local.busy();
            if let Err(error) = port.pass_on(stream, from).await {
                tracing::debug!(service = &*port.service, %error, "a connection to an offered service broke");
            }
            drop(busy);
        });
    }
}

impl Port {
    async fn pass_on(&self, stream: TcpStream, from: SocketAddr) -> io::Result<()> {
        let uid = sys::host::owner(from, self.here).unwrap_or_default();
        let permit = self.permit(from, uid)?;
        // Nobody whom the kernel cannot name takes the room of somebody.
        let holder = User(uid.unwrap_or(u32::MAX));
        let _seat =
            self.door.relayed.take(holder).map_err(|why| {
                io::Error::other(format!("too many connections go through the daemon: {why}"))
            })?;
        let up = Stream::Unix(self.place.connect().await?);
        tokio::select! {
            outcome = pump::run(&self.local, permit, Stream::Tcp(stream), up, Prefix::default(), None) => {
                outcome.broken.map_or(Ok(()), |broken| Err(io::Error::other(broken)))
            }
            () = self.door.cut.started() => Ok(()),
        }
    }

    /// The daemon itself never comes here: it dials as [`super::Dialer`] does.
    fn permit(&self, from: SocketAddr, uid: Option<u32>) -> io::Result<Permit> {
        let principal = match uid {
            Some(uid) => Principal::Local { uid },
            None => Principal::Anonymous { from: from.ip() },
        };
        let caller = Caller::by(&principal, TCP);
        let permit = self.local.with_routes(|routes| routes.permit_to(caller, &self.service));
        permit.map_err(|denial| io::Error::new(io::ErrorKind::PermissionDenied, denial.to_string()))
    }
}
