//! What all connections of the broker share, and how they come in.

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use consul::broker::ProblemKind;
use relay::tls::{Client, ClientSettings, TlsError};
use relay::{Dial, Local, Relay};
use route::Principal;
use state::Drain;
use std::os::fd::OwnedFd;
use sys::pass::{Caller, Socket, caller};

use crate::config::Config;
use crate::libipc::Folder;
use crate::listen::{Listener, Speaks};
use crate::metrics::Metrics;
use crate::offer::Offers;
use crate::revoke::Revocable;
use crate::seats::{Seats, User};
use crate::{Inputs, libipc, session};

/// How rules name what comes here.
pub(crate) const UNIX: &Cow<'static, str> = &Cow::Borrowed("unix");

/// Shared by all connections on all threads.
pub(crate) struct Door {
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    pub(crate) domain: Arc<str>,
    pub(crate) callers: Arc<Seats<User>>,
    pub(crate) relayed: Arc<Seats<User>>,
    pub(crate) strangers: Arc<Seats<IpAddr>>,
    pub(crate) folders: Vec<Folder>,
    pub(crate) mesh: Option<Arc<dyn Dial>>,
    pub(crate) offers: Option<Arc<Offers>>,
    /// What was handed over and can be ended; `None` where nobody lets us.
    pub(crate) revocable: Option<Arc<Revocable>>,
    tls: OnceLock<Client>,
    pub(crate) drain: Drain,
    /// Started when relayed connections must go at once; the broker has drained when the last holder of it is gone.
    pub(crate) cut: Drain,
    relay: Relay,
}

/// A local program, as the kernel knows it and as the rules do.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub(crate) caller: Caller,
    pub(crate) principal: Principal,
}

/// One program's request, as it stands at the door: on which data thread, and whose.
#[derive(Clone, Copy)]
pub(crate) struct Visit<'a> {
    pub(crate) door: &'a Arc<Door>,
    pub(crate) local: &'a Rc<Local>,
    pub(crate) who: &'a Who,
}

impl Door {
    pub(crate) fn new(config: Config, inputs: Inputs, drain: Drain, cut: Drain) -> Door {
        Door {
            callers: Seats::new(config.max_connections, config.max_connections_per_user),
            relayed: Seats::new(usize::MAX, config.max_relayed_per_user),
            strangers: Seats::new(
                config.incoming.max_connections,
                config.incoming.max_connections_per_address,
            ),
            folders: config.folders(),
            mesh: inputs.mesh,
            offers: inputs.offers,
            revocable: inputs.ends.map(Revocable::new),
            tls: OnceLock::new(),
            config,
            metrics: inputs.metrics,
            domain: inputs.domain,
            relay: inputs.relay,
            drain,
            cut,
        }
    }

    /// TLS toward servers, read when it is first needed.
    pub(crate) fn tls(&self) -> Result<&Client, TlsError> {
        if let Some(client) = self.tls.get() {
            return Ok(client);
        }
        let files = self.config.certificate.clone();
        let (certificate, key) = files.map(|files| (files.certificate, files.key)).unzip();
        let settings = ClientSettings { ca: self.config.tls_ca.clone(), certificate, key, name: None };
        let client = Client::new(&settings)?;
        Ok(self.tls.get_or_init(|| client))
    }

    /// The data threads.
    pub(crate) fn relay(&self) -> &Relay {
        &self.relay
    }

    fn identify(&self, caller: Caller) -> Who {
        Who { principal: self.config.principal(&caller, &self.domain), caller }
    }

    /// The data thread with the fewest connections.
    pub(crate) fn idlest(&self) -> usize {
        (0..self.relay.threads()).min_by_key(|thread| self.relay.load(*thread)).unwrap_or_default()
    }
}

/// Accepts on a data thread until the drain starts, and takes the path of the socket away then.
pub(crate) fn open(door: &Arc<Door>, listener: Listener) {
    let shared = door.clone();
    door.relay.run_on(0, move |_| {
        tokio::task::spawn_local(async move {
            let drain = shared.drain.clone();
            let Listener { path, socket, speaks, is_own } = listener;
            let accepting = accept(&shared, socket, &speaks);
            tokio::select! {
                ended = accepting => if let Err(error) = ended {
                    tracing::error!(path = %path.display(), %error, "local programs cannot reach the broker");
                },
                () = drain.started() => {}
            }
            if is_own {
                let _ = std::fs::remove_file(&path);
            }
        });
    });
}

async fn accept(door: &Arc<Door>, socket: OwnedFd, speaks: &Speaks) -> io::Result<()> {
    let socket = Socket::register(socket)?;
    loop {
        let accepted = socket.when_readable(|socket| sys::pass::accept(socket)).await;
        let accepted = accepted.and_then(|socket| Ok((caller(&socket)?, socket)));
        let (caller, socket) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: wait for some to be closed rather than spin.
                tracing::warn!(%error, "accept a local program");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let who = door.identify(caller);
        match door.callers.take(User(caller.uid)) {
            Ok(seat) => {
                let (shared, speaks) = (door.clone(), speaks.clone());
                let begin = move |local: &Rc<Local>| {
                    let local = local.clone();
                    tokio::task::spawn_local(async move {
                        let busy = local.busy();
                        let visit = Visit { door: &shared, local: &local, who: &who };
                        match &speaks {
                            Speaks::Packets => session::serve(visit, socket).await,
                            Speaks::Libipc(folder) => libipc::serve(visit, socket, folder).await,
                        }
                        drop((seat, busy));
                    });
                };
                door.relay.run_on(door.idlest(), begin);
            }
            // Programs of libipc's learn it by the end: there is no word for it.
            Err(why) if matches!(speaks, Speaks::Packets) => session::turn_away(door, &socket, &why),
            Err(_) => door.metrics.refused(ProblemKind::Busy),
        }
        // Others on this thread have their turn between two callers.
        tokio::task::yield_now().await;
    }
}
