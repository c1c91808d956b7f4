//! Services that a program offers by a socket: registered for as long as the program's connection to the broker lasts.
//!
//! What it hands over decides how others get there:
//!
//! | socket | others |
//! |---|---|
//! | none | one on loopback is made and handed to the program |
//! | listening for TCP | connect to its address |
//! | listening on a Unix socket | programs of this host are connected to it; everybody else through a port on loopback |
//! | a connected Unix socket | the same, but each connection is sent over it: a byte, and the descriptor |
//!
//! Where to look: how a request becomes an offer in `take`, how a program's socket is connected to in `place`, the port in
//! `port`. The daemon itself dials around the port ([`Dialer`]): who asks was judged where he came in.

mod place;
mod port;
mod take;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use catalog::{Command, Deregister, Snapshot};
use relay::{Dial, Dialing, Stream};
use route::{Endpoint, Permit};
use state::Drain;
use store::{Store, SubmitError};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::config::Config;
use crate::seats::{Seat, Seats, User};
pub(crate) use place::Place;
pub(crate) use take::take;

/// What says in the catalog that an instance ends with a connection to its broker.
const MARK: &str = "portolan-offered-by";
/// Between two attempts to take a registration back.
const AGAIN: Duration = Duration::from_millis(500);
/// Between two looks for what is registered and offered by nobody.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How long a node that leaves tries to take all of them back. What is left then is taken back at its next start.
const FAREWELL: Duration = Duration::from_secs(2);

/// Everything that is offered on this host.
pub struct Offers {
    store: Store,
    /// By instance id; nothing behind it where the service has an address that everybody may dial.
    places: RwLock<HashMap<Arc<str>, Option<Arc<Place>>>>,
    gone: mpsc::UnboundedSender<Arc<str>>,
    seats: Arc<Seats<User>>,
    number: AtomicU64,
}

/// One offer, taken back when dropped.
pub(crate) struct Offer {
    offers: Arc<Offers>,
    id: Arc<str>,
    serving: Option<AbortHandle>,
    _seat: Seat<User>,
}

impl Offer {
    /// True once the program has closed what it offered.
    pub(crate) fn has_ended(&self) -> bool {
        self.serving.as_ref().is_some_and(AbortHandle::is_finished)
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.serving.iter().for_each(AbortHandle::abort);
        self.offers.withdraw(&self.id);
    }
}

impl Offers {
    /// With the task that takes registrations back, all of them when the drain starts.
    pub fn new(
        store: Store,
        config: &Config,
        drain: Drain,
    ) -> (Arc<Offers>, impl Future<Output = ()> + Send + use<>) {
        let (gone, back) = mpsc::unbounded_channel();
        let seats = Seats::new(usize::MAX, config.max_offers_per_user);
        let offers = Offers { store, places: RwLock::default(), gone, seats, number: AtomicU64::new(1) };
        let offers = Arc::new(offers);
        (offers.clone(), take_back(offers, back, drain))
    }

    /// How to reach an endpoint of this host without a port, where a program offered it so.
    pub(crate) fn place(&self, endpoint: &Endpoint) -> Option<Arc<Place>> {
        if endpoint.node != *self.store.node() {
            return None;
        }
        self.places.read().unwrap_or_else(PoisonError::into_inner).get(&endpoint.id).cloned().flatten()
    }

    /// Keeps an id for one offer alone; false when there is one already, or the catalog knows it.
    fn reserve(&self, id: &Arc<str>) -> bool {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        if places.contains_key(id) || self.store.now().instance(self.store.node(), id).is_some() {
            return false;
        }
        places.insert(id.clone(), None);
        true
    }

    /// True while an offer has this id, also before it is registered.
    fn knows(&self, id: &Arc<str>) -> bool {
        self.places.read().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    fn put(&self, id: &Arc<str>, place: Arc<Place>) {
        self.places.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), Some(place));
    }

    fn withdraw(&self, id: &Arc<str>) {
        let known = self.places.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        if known.is_some() {
            // Fails only when the broker has ended; what is left then is taken back at its next start.
            let _ = self.gone.send(id.clone());
        }
    }
}

/// Reaches what programs of this host offer without a port, and everything else as it is told.
pub struct Dialer {
    offers: Arc<Offers>,
    otherwise: Arc<dyn Dial>,
}

impl Dialer {
    /// In front of `otherwise`.
    pub fn new(offers: Arc<Offers>, otherwise: Arc<dyn Dial>) -> Dialer {
        Dialer { offers, otherwise }
    }
}

impl Dial for Dialer {
    fn dial<'a>(&'a self, endpoint: &'a Endpoint, permit: &'a Permit) -> Dialing<'a> {
        match self.offers.place(endpoint) {
            None => self.otherwise.dial(endpoint, permit),
            Some(place) => Box::pin(async move { place.connect().await.map(Stream::Unix) }),
        }
    }

    fn at_once(&self, endpoint: &Endpoint, permit: &Permit) -> Option<std::net::TcpStream> {
        if self.offers.place(endpoint).is_some() { None } else { self.otherwise.at_once(endpoint, permit) }
    }
}

/// Takes back what another life of this node left, then everything that ends. A node that follows others may learn a
/// moment later what it left, so it looks again now and then.
async fn take_back(offers: Arc<Offers>, mut gone: mpsc::UnboundedReceiver<Arc<str>>, drain: Drain) {
    let store = &offers.store;
    let working = async {
        let mut look = tokio::time::interval(LOOK_AGAIN);
        loop {
            tokio::select! {
                Some(id) = gone.recv() => deregister(store, id).await,
                _ = look.tick() => {
                    for id in offered(&store.now(), store.node()).filter(|id| !offers.knows(id)) {
                        deregister(store, id).await;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = working => {}
        () = drain.started() => {}
    }
    let leaving = async {
        for id in offered(&store.now(), store.node()) {
            deregister(store, id).await;
        }
    };
    if tokio::time::timeout(FAREWELL, leaving).await.is_err() {
        tracing::warn!("offers of this node's programs are still registered; they go at its next start");
    }
}

/// What stands in the catalog as offered on this node.
fn offered(snapshot: &Snapshot, node: &str) -> impl Iterator<Item = Arc<str>> + use<> {
    let all = snapshot.node(node).into_iter().flat_map(|entry| entry.instances.values());
    let ours = all.filter(|instance| instance.def.meta.get(MARK).is_some());
    ours.map(|instance| instance.def.id.clone()).collect::<Vec<_>>().into_iter()
}

async fn deregister(store: &Store, id: Arc<str>) {
    let what = Deregister::Instance { node: store.node().clone(), id: id.clone(), registered_index: None };
    loop {
        match store.submit(Command::Deregister(what.clone())).await {
            Ok(_) | Err(SubmitError::Refused(_) | SubmitError::Closed) => return,
            Err(error) => tracing::warn!(%error, id = &*id, "an offer is still registered; trying again"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
