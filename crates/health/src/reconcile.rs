//! The runner: one task that keeps the schedule, starts probes, sweeps leases and proposes what follows.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::{CheckDef, Command, NodeDef, Outcome, Probe, Refusal, Status};
use lease::{Expired, Leases};
use state::Drain;
use store::{Store, SubmitError};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, sleep_until};

use crate::config::Config;
use crate::metrics::Metrics;
use crate::node::{SERF_HEALTH, node_command};
use crate::outbox::Outbox;
use crate::plan::{self, Edit, Key, Plan};
use crate::probe::Prober;
use crate::schedule::{Schedule, Ticket};
use crate::verdict::{Finding, Judge};

/// Snapshots are followed at most this often: a burst of registrations is taken in one go.
const FOLLOW_EVERY: Duration = Duration::from_millis(10);
/// A check that somebody just registered runs for the first time within this.
const FIRST_RUN: Duration = Duration::from_secs(1);
/// No sweep while this many commands wait: the log does not keep up, and more of the same helps nobody.
const MAX_BACKLOG: usize = 10_000;

/// Runs checks and sweeps leases until it is time to drain. `node` is this node as it should be
/// registered; when it is taken away it registers again.
pub async fn run(
    config: Config,
    node: NodeDef,
    store: Store,
    leases: Arc<Leases>,
    metrics: Metrics,
    drain: Drain,
) {
    let now = Instant::now();
    let mut runner = Runner {
        prober: Arc::new(Prober::new(&config)),
        plan: Plan::new(&node.name),
        schedule: Schedule::new(now),
        jobs: HashMap::new(),
        tickets: HashMap::new(),
        last_ticket: 0,
        running: JoinSet::new(),
        queues: Queues::default(),
        outbox: Outbox::default(),
        config,
        node,
        store,
        leases,
        metrics,
    };
    runner.follow(true);
    runner.run(drain).await;
}

struct Runner {
    config: Config,
    node: NodeDef,
    store: Store,
    leases: Arc<Leases>,
    metrics: Metrics,
    prober: Arc<Prober>,
    plan: Plan,
    schedule: Schedule,
    jobs: HashMap<Ticket, Job>,
    tickets: HashMap<Key, Ticket>,
    last_ticket: Ticket,
    running: JoinSet<Ended>,
    queues: Queues,
    outbox: Outbox,
}

/// A check that runs here. Its ticket dies with it: what the schedule or a probe still holds is ignored.
struct Job {
    key: Key,
    def: Arc<CheckDef>,
    judge: Judge,
    is_busy: bool,
    /// A status that was proposed and is not decided yet.
    proposed: Option<Status>,
    /// When an output was last proposed.
    told: Option<Instant>,
}

/// A probe that has ended.
struct Ended {
    ticket: Ticket,
    is_command: bool,
    finding: Finding,
}

/// Probes that are due and wait for others to end. Programs have a queue of their own: they cost more.
#[derive(Default)]
struct Queues {
    probes: VecDeque<(Ticket, Instant)>,
    commands: VecDeque<(Ticket, Instant)>,
    running_commands: usize,
}

impl Runner {
    async fn run(&mut self, drain: Drain) {
        let mut snapshots = self.store.reader();
        let mut follow_at: Option<Instant> = None;
        let sweep_interval = self.config.sweep_interval.max(Duration::from_millis(10));
        self.leases.expect_sweeps_every(sweep_interval);
        let mut sweeps = interval_at(tokio::time::Instant::now() + sweep_interval, sweep_interval);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.start_due(Instant::now());
            self.outbox.flush(&self.store);
            let wake_at = [self.schedule.next_due(), follow_at].into_iter().flatten().min();
            tokio::select! {
                () = drain.started() => break,
                () = sleep_until_some(wake_at) => {
                    if follow_at.take_if(|at| *at <= Instant::now()).is_some() {
                        self.follow(false);
                    }
                }
                changed = snapshots.next(), if follow_at.is_none() => match changed {
                    Some(_) => follow_at = Some(Instant::now() + FOLLOW_EVERY),
                    None => break,
                },
                Some(ended) = self.running.join_next() => match ended {
                    Ok(ended) => self.settle(ended, Instant::now()),
                    Err(cause) => tracing::error!(error = %cause, "a health probe died"),
                },
                (batch, outcomes) = self.outbox.delivered() => self.delivered(&batch, outcomes),
                _ = sweeps.tick() => self.sweep(Instant::now()),
            }
        }
        self.leave().await;
    }

    /// Takes over which checks run here. At the start of the node nothing is in a hurry: what is known of
    /// each check holds until its turn.
    fn follow(&mut self, is_start: bool) {
        let view = self.store.now();
        let now = Instant::now();
        for edit in self.plan.follow(&view) {
            match edit {
                Edit::Start(key, def) => {
                    self.stop(&key);
                    self.start(key, def, is_start, now);
                }
                Edit::Stop(key) => self.stop(&key),
            }
        }
        self.leases.follow(&view, now);
        self.metrics.checks.set(self.jobs.len() as i64);
    }

    fn start(&mut self, key: Key, def: Arc<CheckDef>, is_start: bool, now: Instant) {
        self.last_ticket += 1;
        let (ticket, interval) = (self.last_ticket, plan::interval(&def.probe));
        match is_start {
            true => self.schedule.next(ticket, &key.1, interval, now),
            false => self.schedule.soon(ticket, &key.1, interval.min(FIRST_RUN), now),
        }
        self.tickets.insert(key.clone(), ticket);
        let job = Job { key, def, judge: Judge::default(), is_busy: false, proposed: None, told: None };
        self.jobs.insert(ticket, job);
    }

    fn stop(&mut self, key: &Key) {
        if let Some(job) = self.tickets.remove(key).and_then(|ticket| self.jobs.remove(&ticket))
            && job.judge.is_held()
        {
            self.metrics.held.dec();
        }
    }

    /// Queues what is due, then starts what there is room for.
    fn start_due(&mut self, now: Instant) {
        while let Some((ticket, due)) = self.schedule.pop_due(now) {
            let Some(job) = self.jobs.get_mut(&ticket) else { continue };
            self.schedule.next(ticket, &job.key.1, plan::interval(&job.def.probe), now);
            if std::mem::replace(&mut job.is_busy, true) {
                self.metrics.skipped.inc();
                continue;
            }
            self.queues.of(&job.def.probe).push_back((ticket, due));
        }
        while self.running.len() < self.config.max_running.max(1)
            && let Some((ticket, due)) = self.queues.pop(self.config.max_commands.max(1))
        {
            self.spawn(ticket, due, now);
        }
        self.metrics.running.set(self.running.len() as i64);
        self.metrics.waiting.set((self.queues.probes.len() + self.queues.commands.len()) as i64);
    }

    fn spawn(&mut self, ticket: Ticket, due: Instant, now: Instant) {
        let Some(job) = self.jobs.get(&ticket) else { return };
        let is_command = matches!(job.def.probe, Probe::Command { .. });
        self.queues.running_commands += usize::from(is_command);
        self.metrics.probes.inc();
        self.metrics.lateness.observe(now.saturating_duration_since(due).as_secs_f64());
        let (prober, def) = (self.prober.clone(), job.def.clone());
        self.running
            .spawn(async move { Ended { ticket, is_command, finding: prober.run(&def.probe).await } });
    }

    /// Judges a result and proposes what it changes.
    fn settle(&mut self, Ended { ticket, is_command, mut finding }: Ended, now: Instant) {
        self.queues.running_commands -= usize::from(is_command);
        let Some(job) = self.jobs.get_mut(&ticket) else { return };
        job.is_busy = false;
        let view = self.store.now();
        let Some(check) = view.check(&job.key.0, &job.key.1) else { return };
        let was_held = job.judge.is_held();
        let current = job.proposed.unwrap_or(check.status);
        let damping = self.config.damping.as_ref();
        let status = job.judge.judge(&job.def, damping, current, &mut finding, now);
        self.metrics.held.inc_by(i64::from(job.judge.is_held()) - i64::from(was_held));
        let is_transition = status != current;
        // A result that thresholds keep from counting is not what the check stands for.
        let counts = status == finding.status || job.judge.is_held();
        let may_tell = job.told.is_none_or(|told| now.duration_since(told) >= self.config.output_interval);
        let is_news = counts && job.proposed.is_none() && may_tell && *finding.output != *check.output;
        if !is_transition && !is_news {
            return;
        }
        job.told = Some(now);
        if is_transition {
            job.proposed = Some(status);
            self.metrics.transitions.inc();
            let said = finding.output.lines().next().unwrap_or_default();
            tracing::info!(check = %job.key.1, from = %current, to = %status, said, "a check changed");
        }
        let (node, id) = job.key.clone();
        self.outbox.push(Command::SetStatus { node, check: id, status, output: finding.output.into() });
    }

    /// Leases that ran out, and this node itself, which must not be missing.
    fn sweep(&mut self, now: Instant) {
        if self.outbox.len() > MAX_BACKLOG {
            return;
        }
        let view = self.store.now();
        for expired in self.leases.sweep(&view, now) {
            self.announce(&expired);
            self.outbox.push(expired.command());
        }
        if view.check(&self.node.name, SERF_HEALTH).is_none()
            && let Some(command) = node_command(&view, &self.node)
        {
            tracing::warn!(node = %self.node.name, "this node was taken out of the catalog; it registers again");
            self.outbox.push(command);
        }
    }

    fn announce(&self, expired: &Expired) {
        match expired {
            Expired::Instance { id, ttl_ms, .. } => {
                self.metrics.expired.inc();
                tracing::info!(instance = %id, ttl_ms, "a lease ran out; the instance goes");
            }
            Expired::Critical { id, check, after_ms, .. } => {
                self.metrics.expired.inc();
                tracing::info!(instance = %id, check = %check, after_ms, "critical for too long; the instance goes");
            }
            Expired::Session { id, ttl_ms, .. } => {
                self.metrics.expired.inc();
                tracing::info!(session = %id, ttl_ms, "a session was not renewed; it ends");
            }
            Expired::Check { id, .. } => {
                self.metrics.transitions.inc();
                tracing::info!(check = %id, "no report in time; the check is critical");
            }
            Expired::Output { .. } => {}
        }
    }

    /// What became of a batch. A command that could not be submitted is not repeated as such: the next
    /// result or the next sweep finds that something is still to be said.
    fn delivered(&mut self, batch: &[Command], outcomes: Result<Vec<Outcome>, SubmitError>) {
        for command in batch {
            if let Command::SetStatus { node, check, .. } = command
                && let Some(ticket) = self.tickets.get(&(node.clone(), check.clone()))
                && let Some(job) = self.jobs.get_mut(ticket)
            {
                job.proposed = None;
            }
        }
        match outcomes {
            Ok(outcomes) => outcomes.iter().for_each(note_refusal),
            Err(cause) => {
                self.metrics.failed_commands.inc_by(batch.len() as u64);
                let cause: &dyn std::error::Error = &cause;
                tracing::warn!(error = cause, commands = batch.len(), "changes of health were not recorded");
            }
        }
    }

    /// Ends probes and hands over what is still to be said.
    async fn leave(&mut self) {
        self.running.shutdown().await;
        while self.outbox.len() > 0 {
            self.outbox.flush(&self.store);
            let (batch, outcomes) = self.outbox.delivered().await;
            self.delivered(&batch, outcomes);
        }
    }
}

/// Most refusals are races that somebody else has won, and then all is well.
fn note_refusal(outcome: &Outcome) {
    match outcome {
        Outcome::Refused(
            refusal @ (Refusal::UnknownCheck { .. }
            | Refusal::UnknownNode(_)
            | Refusal::RegisteredAgain { .. }
            | Refusal::ClaimedAgain { .. }
            | Refusal::Cluster(_)),
        ) => tracing::debug!(%refusal, "a change of health came too late"),
        Outcome::Refused(refusal) => tracing::warn!(%refusal, "a change of health was refused"),
        Outcome::Done { .. }
        | Outcome::Batch(_)
        | Outcome::Transacted(_)
        | Outcome::Published { .. }
        | Outcome::Duplicate => {}
    }
}

impl Queues {
    fn of(&mut self, probe: &Probe) -> &mut VecDeque<(Ticket, Instant)> {
        match probe {
            Probe::Command { .. } => &mut self.commands,
            _ => &mut self.probes,
        }
    }

    fn pop(&mut self, max_commands: usize) -> Option<(Ticket, Instant)> {
        let command = (self.running_commands < max_commands).then(|| self.commands.pop_front()).flatten();
        command.or_else(|| self.probes.pop_front())
    }
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
