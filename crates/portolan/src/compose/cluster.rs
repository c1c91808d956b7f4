//! What keeps a member one: its certificate, its place in the catalog, the voters, and answers for the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use catalog::{Command, NodeDef, Role};
use cluster::join::Desk;
use cluster::life::{self, MeshVoice};
use cluster::renew::Renewer;
use state::Drain;
use store::Store;

use super::faces::Shared;
use crate::config::{Carried, Config};
use crate::many::face::Linked;
use crate::many::lookout;
use crate::many::member::Membership;
use crate::many::roster::Roster;
use crate::many::signs::Signs;
use crate::many::trust::MeshDoor;
use crate::many::whereabouts::Whereabouts;
use crate::many::{survey, voters};

/// Between two looks at whether a certificate is due.
const RENEWAL: Duration = Duration::from_secs(30);
/// Between two looks at where this host is.
const LOOK: Duration = Duration::from_secs(2);
/// Between two tries to say something to the order.
const AGAIN: Duration = Duration::from_secs(1);

impl Shared {
    pub(super) fn cluster(
        &mut self,
        config: &Config,
        member: &Membership,
        linked: &Linked,
        roster: Arc<Roster>,
        itself: NodeDef,
    ) -> anyhow::Result<()> {
        let (store, drain) = (self.store.clone(), self.drain.clone());
        let founding = member.local.with(cluster::init::founding).context("read how the cluster began")?;
        self.tasks.spawn("roster", roster.follow(store.clone(), drain.clone()));
        self.tasks.spawn("beliefs", believe(store.clone(), linked.clone(), drain.clone()));
        let place = Whereabouts::new(config.clone(), linked.local.clone(), itself.clone());
        self.tasks.spawn("introduction", introduce(store.clone(), itself, founding, drain.clone()));
        self.tasks.spawn("renewal", renew(store.clone(), linked.clone(), place, drain.clone()));
        self.tasks.spawn("survey", survey::serve(store.clone(), linked.clone(), drain.clone()));
        let signs = Signs { store: store.clone(), leases: self.leases.clone(), mesh: linked.mesh.clone() };
        self.tasks.spawn("signs", signs.serve(drain.clone()));
        self.tasks.spawn("lookout", lookout::serve(linked.mesh.clone(), drain.clone()));
        let (voice, heard) = MeshVoice::new(linked.mesh.clone());
        let leads = linked.leads();
        let life = life::run(
            config.cluster.life.clone(),
            store.clone(),
            Arc::new(voice),
            heard,
            leads,
            drain.clone(),
        );
        self.tasks.spawn("life", life);
        if member.role() == Role::Server {
            open_desk(&store, linked, config.cluster.order);
            if let Some(log) = linked.order.servers() {
                self.tasks.spawn("voters", voters::keep(log.clone(), store, config.cluster.voters, drain));
            }
        }
        Ok(())
    }
}

/// Answers those who join and those who renew.
fn open_desk(store: &Store, linked: &Linked, order: Carried) {
    let desk = Desk::new(store.clone(), linked.local.clone(), cluster::time::system());
    let desk = Arc::new(desk.with_order(order.as_str()));
    linked.mesh.on_join(move |request| {
        let desk = desk.clone();
        async move { Ok(desk.answer(&request.bytes).await.to_vec()) }
    });
}

/// Follows what the catalog says of roots, servers and denied keys.
async fn believe(store: Store, linked: Linked, drain: Drain) {
    let mut views = store.reader();
    loop {
        if let Err(error) = linked.local.follow(&views.now()) {
            tracing::error!(%error, "what is believed of the cluster was not written down");
        }
        tokio::select! {
            next = views.next() => if next.is_none() { return },
            () = drain.started() => return,
        }
    }
}

/// Begins the cluster where that is this node's part, and registers the node. Both apply once, and wait for as
/// long as nobody leads.
async fn introduce(store: Store, itself: NodeDef, founding: Option<Command>, drain: Drain) {
    let work = async {
        if let Some(founding) = founding {
            // Refused means that it was done before.
            insist("begin the cluster", || store.propose(founding.clone())).await;
        }
        insist("register this node", || health::register_node(&store, &itself)).await;
    };
    tokio::select! {
        () = work => drain.started().await,
        () = drain.started() => {}
    }
}

async fn insist<T, E, F>(what: &str, mut attempt: impl FnMut() -> F)
where
    F: Future<Output = Result<T, E>>,
    E: std::fmt::Display,
{
    while let Err(error) = attempt().await {
        tracing::warn!(%error, "could not {what}; trying again");
        tokio::time::sleep(AGAIN).await;
    }
}

/// Keeps this node's certificate good, and the others informed of where it is.
async fn renew(store: Store, linked: Linked, mut place: Whereabouts, drain: Drain) {
    let renewer = Renewer::new(linked.local, store.clone(), Arc::new(MeshDoor), cluster::time::system());
    let mut moved = place.look();
    loop {
        match renewer.turn().await {
            Ok(true) => tracing::info!("renewed this node's certificate"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "this node's certificate was not renewed; trying again"),
        }
        if moved {
            let told = health::register_node(&store, place.itself()).await;
            moved = told
                .inspect_err(|error| tracing::warn!(%error, "this node's address is not known yet"))
                .is_err();
        }
        let begun = Instant::now();
        while begun.elapsed() < RENEWAL {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = drain.started() => return,
            }
            if place.look() || moved {
                moved = true;
                break;
            }
        }
    }
}
