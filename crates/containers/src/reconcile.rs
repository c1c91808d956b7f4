//! Brings about what is planned: over and over, from the whole list.

use std::collections::BTreeMap;
use std::time::Duration;

use consul::register::ServiceRegistration;
use tokio::time::{Instant, sleep, timeout};

use crate::config::Config;
use crate::engine::{Engine, EngineError};
use crate::plan::{OWNER, Plan, Problem};

/// Events come in bursts (a container that dies is also stopped, and leaves its networks): one look for all of them.
const GATHER: Duration = Duration::from_millis(100);
/// Pause after the engine or the registry did not answer.
const RETRY: Duration = Duration::from_secs(2);

/// The registry of this node, as an agent of Consul's API offers it.
pub trait Registrar: Send {
    /// Instances of this node by id; for each the container that it is from, if it is from one.
    fn registered(&self) -> impl Future<Output = Result<BTreeMap<String, Option<String>>, String>> + Send;
    /// Creates or replaces an instance.
    fn register(&self, service: &ServiceRegistration) -> impl Future<Output = Result<(), String>> + Send;
    /// Takes an instance away.
    fn deregister(&self, id: &str) -> impl Future<Output = Result<(), String>> + Send;
}

/// Registers what runs, for as long as it is polled. What is registered when it ends stays: the containers go on
/// running, and the next life of this node finds it by its mark.
pub async fn run(config: Config, host: String, registrar: impl Registrar) {
    let engine = Engine::new(config.socket());
    tracing::info!(socket = %engine.socket().display(), "registering what containers ask for");
    let mut work =
        Work { config, host, engine, registrar, done: BTreeMap::new(), problems: Vec::new(), silent: None };
    loop {
        if let Err(cause) = work.turn().await {
            work.engine_is_silent(&cause).await;
            sleep(RETRY).await;
        }
    }
}

struct Work<R> {
    config: Config,
    host: String,
    engine: Engine,
    registrar: R,
    /// What was registered in this life, so that a settled host asks for nothing twice.
    done: BTreeMap<String, ServiceRegistration>,
    /// What was complained about, to complain once.
    problems: Vec<Problem>,
    /// Since when the engine has been silent.
    silent: Option<Instant>,
}

impl<R: Registrar> Work<R> {
    /// Looks once, and waits for a reason to look again.
    async fn turn(&mut self) -> Result<(), EngineError> {
        // Events first, so that no change falls between the list and them.
        let mut events = self.engine.events().await?;
        let complete = self.look().await?;
        self.engine_answers();
        let pause = if complete { self.config.refresh } else { RETRY };
        let hinted = timeout(pause, events.next()).await;
        sleep(if hinted == Ok(false) { RETRY } else { GATHER }).await;
        Ok(())
    }

    /// One look at everything; false when the registry did not take all of it.
    async fn look(&mut self) -> Result<bool, EngineError> {
        let containers = self.engine.running().await?;
        let plan = Plan::of(&containers, &self.host, &self.config);
        self.complain(&plan);
        Ok(self.bring_about(plan.services).await)
    }

    fn complain(&mut self, plan: &Plan) {
        for Problem { container, what } in plan.problems.iter().filter(|one| !self.problems.contains(one)) {
            tracing::warn!(container, "{what}");
        }
        self.problems = plan.problems.iter().cloned().collect();
    }

    async fn bring_about(&mut self, wanted: BTreeMap<String, ServiceRegistration>) -> bool {
        let registered = match self.registrar.registered().await {
            Ok(registered) => registered,
            Err(cause) => {
                tracing::warn!(cause, "list what is registered on this node");
                return false;
            }
        };
        let mut complete = true;
        for id in registered.iter().filter(|(_, container)| container.is_some()).map(|(id, _)| id) {
            if !wanted.contains_key(id) {
                complete &= self.deregister(id).await;
            }
        }
        self.done.retain(|id, _| wanted.contains_key(id) && registered.contains_key(id));
        for (id, service) in wanted {
            match registered.get(&id) {
                Some(None) => tracing::debug!(id, "an instance that is no container's has this id: it stays"),
                _ if self.done.get(&id) == Some(&service) => {}
                _ => self.register(id, service).await,
            }
        }
        complete
    }

    async fn register(&mut self, id: String, service: ServiceRegistration) {
        match self.registrar.register(&service).await {
            Ok(()) => {
                let container = service.meta.get(OWNER).map_or("", |container| container);
                tracing::info!(id, service = &*service.name, container, "registered a container's service");
                self.done.insert(id, service);
            }
            // What is refused now will be refused again, until a label or the registry changes: no hurry.
            Err(cause) => {
                tracing::warn!(id, service = &*service.name, cause, "register a container's service")
            }
        }
    }

    async fn deregister(&mut self, id: &str) -> bool {
        self.done.remove(id);
        match self.registrar.deregister(id).await {
            Ok(()) => {
                tracing::info!(id, "deregistered: its container does not run");
                true
            }
            Err(cause) => {
                tracing::warn!(id, cause, "deregister a container's service");
                false
            }
        }
    }

    fn engine_answers(&mut self) {
        if self.silent.take().is_some() {
            tracing::info!("the containers' engine answers again");
        }
    }

    /// A source that cannot be reached is not an empty one: what it said is held for a while.
    async fn engine_is_silent(&mut self, cause: &EngineError) {
        let since = *self.silent.get_or_insert_with(|| {
            let hold = self.config.hold;
            tracing::warn!(%cause, ?hold, "the containers' engine does not answer; what is registered stays for now");
            Instant::now()
        });
        if since.elapsed() >= self.config.hold {
            self.bring_about(BTreeMap::new()).await;
        }
    }
}
