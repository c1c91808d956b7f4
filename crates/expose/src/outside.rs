//! Whether the world gets in: another node of the cluster, in another home, connects to what is exposed here.
//!
//! What is absent: UDP, where nothing says that somebody listens, and any word of who is in between.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::router::BoxFuture;

/// Longest that one look may take.
const LIMIT: Duration = Duration::from_secs(4);
/// Who got in once is looked for again this often.
const AGAIN: Duration = Duration::from_secs(600);
/// Ports that are looked at side by side.
const MOST: usize = 16;

/// Somebody elsewhere.
pub trait Lookout: Send + Sync {
    /// Connects there and closes at once; `None` when nobody is elsewhere.
    fn look(&self, at: SocketAddr) -> BoxFuture<'_, Option<Sight>>;
}

/// What somebody elsewhere saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Who.
    pub by: Arc<str>,
    /// Why he did not get in.
    pub outcome: Result<(), String>,
}

/// What was seen of each port of TCP at the router, by the address outside.
pub(crate) type Sights = BTreeMap<SocketAddr, Sight>;

/// Looks, and remembers.
pub(crate) struct Outside {
    lookout: Option<Arc<dyn Lookout>>,
    seen: BTreeMap<SocketAddr, (Instant, Sight)>,
}

impl Outside {
    pub(crate) fn new(lookout: Option<Arc<dyn Lookout>>) -> Outside {
        Outside { lookout, seen: BTreeMap::new() }
    }

    pub(crate) fn sights(&self) -> Sights {
        self.seen.iter().map(|(at, (_, sight))| (*at, sight.clone())).collect()
    }

    /// Has these looked at that were not yet; with `renew`, those too whom nobody reached, and after a while all.
    pub(crate) async fn look(&mut self, wanted: &BTreeSet<SocketAddr>, renew: bool) {
        let Some(lookout) = self.lookout.clone() else { return };
        self.seen.retain(|at, _| wanted.contains(at));
        let is_due = |at: &&SocketAddr| match self.seen.get(at) {
            None => true,
            Some((since, sight)) => renew && (sight.outcome.is_err() || since.elapsed() >= AGAIN),
        };
        let due: Vec<SocketAddr> = wanted.iter().filter(is_due).copied().collect();
        for some in due.chunks(MOST) {
            let mut looks: JoinSet<_> = some.iter().map(|at| one(lookout.clone(), *at)).collect();
            while let Some(Ok((at, sight))) = looks.join_next().await {
                match sight {
                    Some(sight) => drop(self.seen.insert(at, (Instant::now(), sight))),
                    // Nobody is elsewhere any more: nothing is known.
                    None => drop(self.seen.remove(&at)),
                }
            }
        }
    }
}

async fn one(lookout: Arc<dyn Lookout>, at: SocketAddr) -> (SocketAddr, Option<Sight>) {
    let seen = tokio::time::timeout(LIMIT, lookout.look(at)).await;
    (at, seen.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Gets in at even ports, and counts.
    struct Neighbour(Mutex<usize>);

    impl Lookout for Neighbour {
        fn look(&self, at: SocketAddr) -> BoxFuture<'_, Option<Sight>> {
            *self.0.lock().unwrap() += 1;
            let outcome = if at.port().is_multiple_of(2) { Ok(()) } else { Err("refused".to_owned()) };
            Box::pin(std::future::ready(Some(Sight { by: "barn".into(), outcome })))
        }
    }

    #[tokio::test]
    async fn who_gets_in_is_not_asked_again_soon_and_who_does_not_is() {
        let neighbour = Arc::new(Neighbour(Mutex::new(0)));
        let mut outside = Outside::new(Some(neighbour.clone()));
        let at = |last, port| SocketAddr::from(([45, 83, 0, last], port));
        let wanted = [at(1, 443), at(1, 80)].into();
        for (renew, asked) in [(false, 2), (false, 2), (true, 3)] {
            outside.look(&wanted, renew).await;
            assert_eq!(*neighbour.0.lock().unwrap(), asked);
        }
        let sights = outside.sights();
        assert_eq!(sights[&at(1, 80)].outcome, Ok(()));
        assert_eq!(sights[&at(1, 443)].outcome, Err("refused".into()));
        // Another address is another place.
        outside.look(&[at(2, 443), at(2, 80)].into(), false).await;
        assert_eq!(*neighbour.0.lock().unwrap(), 5);
        outside.look(&BTreeSet::new(), false).await;
        assert!(outside.sights().is_empty());
    }
}
