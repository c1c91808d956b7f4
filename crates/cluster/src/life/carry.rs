//! Carries out what [`plan`](crate::life::plan) decides: says beats, hears them, proposes verdicts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::{ClusterCommand, Command, Role, Snapshot};
use state::Drain;
use store::Store;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::chain;
use crate::life::plan::{Judge, Tick, Watched, Wish};
use crate::life::wire::Message;
use crate::life::{Config, Heard, Voice};

/// Between two turns.
const TURN: Duration = Duration::from_secs(1);
/// How long the order may take to say that it listens.
const LISTENS: Duration = Duration::from_secs(2);
/// Probes that run for others at one time.
const MOST_PROBES: usize = 64;

struct Carrier<'a> {
    config: Config,
    store: Store,
    voice: Arc<dyn Voice>,
    leads: &'a (dyn Fn() -> bool + Send + Sync),
    judge: Judge,
    began: Instant,
    beaten: Option<Tick>,
    /// What runs beside the turns; a probe of our own ends with whom it reached.
    jobs: JoinSet<Option<String>>,
}

/// Beats, and on servers judges, until the drain starts. `leads` tells whether this node leads the order now.
pub async fn run(
    config: Config,
    store: Store,
    voice: Arc<dyn Voice>,
    mut heard: mpsc::Receiver<Heard>,
    leads: impl Fn() -> bool + Send + Sync,
    drain: Drain,
) {
    let own = store.node().clone();
    let judge = Judge::new(config.clone(), &own);
    let (began, jobs) = (Instant::now(), JoinSet::new());
    let mut carrier = Carrier { config, store, voice, leads: &leads, judge, began, beaten: None, jobs };
    let mut turns = tokio::time::interval(TURN);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = turns.tick() => carrier.turn(),
            message = heard.recv() => match message {
                Some(heard) => carrier.handle(heard),
                None => return,
            },
            Some(done) = carrier.jobs.join_next() => carrier.done(done.ok().flatten()),
            () = drain.started() => return,
        }
    }
}

impl Carrier<'_> {
    fn now(&self) -> Tick {
        self.began.elapsed().as_millis() as Tick
    }

    fn turn(&mut self) {
        let (now, view) = (self.now(), self.store.now());
        let beat = self.config.beat.as_millis() as u64;
        let is_beat = self.beaten.is_none_or(|beaten| now.saturating_sub(beaten) + 100 >= beat);
        if is_beat {
            self.beaten = Some(now);
            self.tell_servers(&view, &Message::Beat { epoch: self.store.epoch() });
        }
        let members = watched(&view);
        if !is_server(&view, self.store.node()) {
            return;
        }
        let wishes = self.judge.poll(now, (self.leads)(), &members);
        let report = self.judge.report(now);
        let entries = report.into_iter().map(|(node, epoch, age)| (node.to_string(), epoch, age));
        self.tell_servers(&view, &Message::Report(entries.collect()));
        wishes.into_iter().for_each(|wish| self.carry_out(wish));
    }

    fn tell_servers(&self, view: &Snapshot, message: &Message) {
        let bytes = message.encode();
        let servers = view.cluster().members().filter(|member| member.role == Role::Server);
        for server in servers.filter(|server| server.name != *self.store.node()) {
            self.voice.say(&server.name, bytes.clone());
        }
    }

    fn handle(&mut self, heard: Heard) {
        let (now, peer) = (self.now(), heard.peer);
        match Message::decode(&heard.message) {
            Some(Message::Beat { epoch }) => self.judge.handle_beat(&peer, epoch, 0, now),
            Some(Message::Report(entries)) => {
                // Only servers hear for others.
                if is_server(&self.store.now(), &peer) {
                    for (node, epoch, age_ms) in entries {
                        self.judge.handle_beat(&node, epoch, age_ms, now);
                    }
                }
            }
            Some(Message::Probe { target }) => self.probe_for(peer, target),
            Some(Message::Probed { target, is_alive }) => self.judge.handle_probe(&target, is_alive, now),
            None => tracing::warn!(peer, "a message about life is not understood; it is passed over"),
        }
    }

    fn done(&mut self, reached: Option<String>) {
        if let Some(target) = reached {
            let now = self.now();
            self.judge.handle_probe(&target, true, now);
        }
    }

    fn probe(&mut self, target: String) {
        let (voice, within) = (self.voice.clone(), self.config.probe_time);
        self.jobs.spawn(async move { voice.reaches(&target, within).await.then_some(target) });
    }

    fn probe_for(&mut self, asker: String, target: String) {
        let is_member = self.store.now().cluster().member(&target).is_some();
        if !is_member || self.jobs.len() >= MOST_PROBES {
            return;
        }
        let (voice, within) = (self.voice.clone(), self.config.probe_time);
        self.jobs.spawn(async move {
            let is_alive = voice.reaches(&target, within).await;
            voice.say(&asker, Message::Probed { target, is_alive }.encode());
            None
        });
    }

    fn carry_out(&mut self, wish: Wish) {
        match wish {
            Wish::Probe { target, through } => {
                tracing::debug!(node = %target, ?through, "a node is silent; others try it");
                let bytes = Message::Probe { target: target.to_string() }.encode();
                through.iter().for_each(|helper| self.voice.say(helper, bytes.clone()));
                self.probe(target.to_string());
            }
            Wish::Down { node, epoch } => {
                tracing::warn!(%node, epoch, "a node is silent and nobody reaches it: it is taken for dead");
                self.propose(ClusterCommand::NodeDown { node, epoch }, true);
            }
            Wish::Up { node, epoch } => {
                tracing::info!(%node, "a node that was taken for dead is back");
                self.propose(ClusterCommand::NodeUp { node, epoch }, false);
            }
            Wish::Held { nodes } => tracing::error!(
                ?nodes,
                "so many nodes fell silent at once that this network is suspected first; verdicts are held back"
            ),
        }
    }

    /// A verdict of one who does not lead any more, and does not know it, must not be decided when the network is
    /// whole again: the order is asked first whether it still listens.
    fn propose(&mut self, command: ClusterCommand, is_verdict: bool) {
        let store = self.store.clone();
        self.jobs.spawn(async move {
            if is_verdict && !matches!(tokio::time::timeout(LISTENS, store.barrier()).await, Ok(Ok(_))) {
                tracing::warn!("a verdict is dropped: the order does not answer");
                return None;
            }
            // The next turn says it again where it was lost.
            if let Err(cause) = store.submit(Command::Cluster(command)).await {
                tracing::debug!(error = %chain(&cause), "a verdict did not take");
            }
            None
        });
    }
}

fn is_server(view: &Snapshot, node: &str) -> bool {
    view.cluster().member(node).is_some_and(|member| member.role == Role::Server)
}

/// Members that have registered as nodes: of the others there is nothing to take away.
fn watched(view: &Snapshot) -> Vec<Watched> {
    let members = view.cluster().members().filter(|member| view.node(&member.name).is_some());
    let watched = members.map(|member| Watched {
        node: member.name.clone(),
        is_server: member.role == Role::Server,
        epoch: view.epoch_of(&member.name),
        down: view.down(&member.name).map(|down| down.epoch),
    });
    watched.collect()
}
