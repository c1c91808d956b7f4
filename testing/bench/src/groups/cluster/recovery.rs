//! How long writes stand still when the leader is killed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::name;
use crate::harness::Context;
use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::load::keys::{Connection, Op};
use crate::load::runtime;
use crate::report::{Goal, Row};
use crate::subject::trio::{Kind, LIMIT, Trio};

/// How long a client waits for an answer before it asks again.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);

const CLIENTS: usize = 64;
const KILLS: usize = 20;

/// Both in turns, so that a disturbance of the machine meets both.
pub(super) fn run(context: &Context, cores: &Cores) -> Result<Row> {
    let kills = context.size(KILLS, 2);
    let mut ours = (Trio::start(Kind::Portolan, context, cores)?, Figure::default());
    let mut theirs = (Trio::start(Kind::Etcd, context, cores)?, Figure::default());
    for kill in 0..kills {
        for (trio, figure) in [&mut ours, &mut theirs] {
            eprintln!("  kill {}/{kills}: {}", kill + 1, name(trio.kind));
            figure.push(once(trio, cores)?.as_secs_f64() * 1000.0);
        }
    }
    let row = Row::new(format!("leader killed: writes resume after (median of {kills})"), "ms", ours.1);
    Ok(row.beside("etcd", theirs.1).goal(Goal::Below(1000.0)))
}

/// Kills the leader under load, and starts it again afterwards.
fn once(trio: &mut Trio, cores: &Cores) -> Result<Duration> {
    let leader = trio.leader(&[0, 1, 2])?;
    let others: Vec<SocketAddr> =
        trio.addresses().into_iter().enumerate().filter(|(at, _)| *at != leader).map(|(_, at)| at).collect();
    let took = runtime()?.block_on(async {
        let killed_at = Arc::new(Mutex::new(None));
        let (resumed, mut answers) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for number in 0..CLIENTS {
            let writer = Writer {
                kind: trio.kind,
                server: others[number % others.len()],
                token: trio.token.clone(),
                killed_at: killed_at.clone(),
                resumed: resumed.clone(),
            };
            tasks.spawn(writer.run(number as u64));
        }
        // Under load for a while first.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let killed = trio.kill(leader)?;
        *killed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(killed);
        let answered = tokio::time::timeout(LIMIT, answers.recv()).await.context("writes never resume")?;
        let answered: Instant = answered.context("the writers ended")?;
        anyhow::Ok(answered - killed)
    })?;
    trio.restart(leader, cores)?;
    Ok(took)
}

struct Writer {
    kind: Kind,
    server: SocketAddr,
    token: Option<String>,
    killed_at: Arc<Mutex<Option<Instant>>>,
    resumed: mpsc::UnboundedSender<Instant>,
}

impl Writer {
    /// Until it is dropped. What fails is tried again on a new connection.
    async fn run(self, mut number: u64) {
        loop {
            let Ok(mut connection) = Connection::open(self.kind, self.server, self.token.as_deref()).await
            else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            while self.write(&mut connection, number).await {
                number += CLIENTS as u64;
            }
            // A refusal comes at once: no need to ask ten thousand times a second.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn write(&self, connection: &mut Connection, number: u64) -> bool {
        let sent = Instant::now();
        let write = tokio::time::timeout(PATIENCE, connection.carry_out(Op::Write, number));
        if !matches!(write.await, Ok(Ok(()))) {
            return false;
        }
        let killed = *self.killed_at.lock().unwrap_or_else(PoisonError::into_inner);
        if killed.is_some_and(|killed| sent > killed) {
            // Nobody listens once the first has answered.
            let _ = self.resumed.send(Instant::now());
        }
        true
    }
}
