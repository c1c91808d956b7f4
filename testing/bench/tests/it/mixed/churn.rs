//! Services come, go and fail, and routes change: something every tenth of a second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::backends::{Backend, Kind};
use crate::daemon::{Daemon, put};

/// How long an instance that left in good order goes on with what it has.
const FINISHING: Duration = Duration::from_secs(10);
/// How long the registry believes in an instance that died.
const UNNOTICED: Duration = Duration::from_millis(300);

/// Services whose instances leave in good order: what is under way on them may not be cut.
const GENTLE: [(&str, Kind); 4] =
    [("steady", Kind::Web), ("calls", Kind::Web), ("echo", Kind::Echo), ("pong", Kind::Pong)];

struct Instance {
    id: String,
    backend: Option<Backend>,
}

/// Who is there.
pub(crate) struct Churn {
    ticks: tokio::time::Interval,
    step: u64,
    made: u64,
    gentle: [VecDeque<Instance>; 4],
    /// Die without a word.
    churny: VecDeque<Instance>,
    only: Option<Instance>,
    /// Left in good order, and when.
    finishing: VecDeque<(Instant, Backend)>,
    /// Died, and when.
    dead: VecDeque<(Instant, String)>,
    failing: Option<String>,
}

impl Churn {
    pub(crate) async fn new(daemon: &Daemon) -> Churn {
        let mut ticks = interval(Duration::from_millis(100));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut churn = Churn {
            ticks,
            step: 0,
            made: 0,
            gentle: Default::default(),
            churny: VecDeque::new(),
            only: None,
            finishing: VecDeque::new(),
            dead: VecDeque::new(),
            failing: None,
        };
        for (at, (service, kind)) in GENTLE.into_iter().enumerate() {
            for _ in 0..2 {
                let instance = churn.make(daemon, service, kind).await;
                churn.gentle[at].push_back(instance);
            }
        }
        for _ in 0..3 {
            let instance = churn.make(daemon, "churny", Kind::Web).await;
            churn.churny.push_back(instance);
        }
        churn.only = Some(churn.make(daemon, "only", Kind::Web).await);
        churn
    }

    /// Does the next thing when its time has come.
    pub(crate) async fn step(&mut self, daemon: &Daemon) {
        self.ticks.tick().await;
        self.step += 1;
        self.tidy(daemon).await;
        match self.step % 8 {
            0 => self.replace_gently(daemon, (self.step / 8) as usize % GENTLE.len()).await,
            1 => {
                let instance = self.make(daemon, "churny", Kind::Web).await;
                self.churny.push_back(instance);
            }
            2 => self.kill_one(),
            3 => daemon.reconfigure(&super::settings(daemon.ports, self.step)).await,
            4 => self.fail_or_mend(daemon).await,
            5 => self.come_and_go(daemon).await,
            6 => self.only = None,
            _ => self.only = Some(self.make(daemon, "only", Kind::Web).await),
        }
    }

    async fn make(&mut self, daemon: &Daemon, service: &str, kind: Kind) -> Instance {
        self.made += 1;
        // The only instance keeps its name, and so it is never more than one.
        let id = if service == "only" { "only".to_owned() } else { format!("{service}-{}", self.made) };
        let backend = Backend::start(kind).await;
        let body = format!(
            "{{\"Name\":\"{service}\",\"ID\":\"{id}\",\"Address\":\"127.0.0.1\",\"Port\":{},\
             \"Check\":{{\"CheckID\":\"c-{id}\",\"TTL\":\"1h\",\"Status\":\"passing\"}}}}",
            backend.address.port()
        );
        put(daemon.ports.api, "/v1/agent/service/register", &body).await;
        Instance { id, backend: Some(backend) }
    }

    async fn deregister(daemon: &Daemon, id: &str) {
        put(daemon.ports.api, &format!("/v1/agent/service/deregister/{id}"), "").await;
    }

    /// A new instance comes, then the oldest goes.
    async fn replace_gently(&mut self, daemon: &Daemon, at: usize) {
        let (service, kind) = GENTLE[at];
        let instance = self.make(daemon, service, kind).await;
        self.gentle[at].push_back(instance);
        if let Some(Instance { id, backend: Some(backend) }) = self.gentle[at].pop_front() {
            Self::deregister(daemon, &id).await;
            self.finishing.push_back((Instant::now(), backend));
        }
    }

    /// One dies, and the registry does not know yet. Two that are well stay.
    fn kill_one(&mut self) {
        let well = self.churny.len() - usize::from(self.failing.is_some());
        if well > 2
            && let Some(Instance { id, backend }) = self.churny.pop_front()
        {
            drop(backend);
            self.dead.push_back((Instant::now(), id));
        }
    }

    /// The youngest says that it is unwell, or well again.
    async fn fail_or_mend(&mut self, daemon: &Daemon) {
        let there = |id: &String| self.churny.iter().any(|instance| instance.id == *id);
        match self.failing.take().filter(there) {
            Some(id) => put(daemon.ports.api, &format!("/v1/agent/check/pass/c-{id}"), "").await,
            None if self.churny.len() > 2 => {
                let id = self.churny.back().unwrap().id.clone();
                put(daemon.ports.api, &format!("/v1/agent/check/fail/c-{id}"), "").await;
                self.failing = Some(id);
            }
            None => {}
        }
    }

    /// A service that nobody asks for.
    async fn come_and_go(&mut self, daemon: &Daemon) {
        let service = format!("passing-by-{}", self.step);
        let instance = self.make(daemon, &service, Kind::Echo).await;
        Self::deregister(daemon, &instance.id).await;
    }

    async fn tidy(&mut self, daemon: &Daemon) {
        while self.dead.front().is_some_and(|(since, _)| since.elapsed() > UNNOTICED) {
            if let Some((_, id)) = self.dead.pop_front() {
                Self::deregister(daemon, &id).await;
            }
        }
        while self.finishing.front().is_some_and(|(since, _)| since.elapsed() > FINISHING) {
            self.finishing.pop_front();
        }
    }
}
