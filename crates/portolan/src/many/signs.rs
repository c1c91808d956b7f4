//! Renewals and reports on their way to the node that keeps the deadline.
//!
//! ```text
//! request  frame with a `Sign` as JSON
//! answer   frame with {"Ok": milliseconds} or {"Err": …} as JSON
//! ```

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::{ClusterCommand, Command, Status};
use lease::{Leases, NotPassedOn, PassOn, PassingOn, RenewError, ReportError, Sign};
use mesh::{Incoming, Kind, Lane, Mesh, Stream, frame};
use state::Drain;
use store::Store;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

const KIND: Kind = Kind::of("sign");
/// A sign carries at most a check's output.
const MAX_SIGN: usize = 64 << 10;
/// How long the other node may take.
const PATIENCE: Duration = Duration::from_secs(3);

type Answer = Result<u64, NotPassedOn>;

/// Knows who keeps what, and how to reach them.
#[derive(Clone)]
pub(crate) struct Signs {
    pub(crate) store: Store,
    pub(crate) leases: Arc<Leases>,
    pub(crate) mesh: Mesh,
}

impl PassOn for Signs {
    fn pass_on(&self, sign: Sign) -> PassingOn<'_> {
        Box::pin(async move { self.carry(&sign).await.map(Duration::from_millis) })
    }
}

impl Signs {
    async fn carry(&self, sign: &Sign) -> Answer {
        let snapshot = self.store.now();
        let keeper = sign.keeper(&snapshot).ok_or_else(|| gone(sign))?;
        if keeper == *self.store.node() {
            return self.here(sign).await;
        }
        if snapshot.down(&keeper).is_some() {
            return self.take_over(sign).await;
        }
        let asked = tokio::time::timeout(PATIENCE, ask(&self.mesh, &keeper, sign)).await;
        match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Err(unreachable(&keeper, &error.to_string())),
            Err(_) => Err(unreachable(&keeper, &format!("no answer within {PATIENCE:?}"))),
        }
    }

    /// The keeper is dead, and its deadlines would run out with nobody to renew them: they are ours from now on.
    async fn take_over(&self, sign: &Sign) -> Answer {
        let (node, id) = sign.instance(&self.store.now()).ok_or_else(|| gone(sign))?;
        let claim = ClusterCommand::Claim { node, id: id.clone() };
        match self.store.submit(Command::Cluster(claim)).await {
            Ok(_) => {
                tracing::info!(instance = %id, "took over a lease whose keeper is dead");
                self.here(sign).await
            }
            Err(error) => Err(NotPassedOn::Unreachable(format!("take over \"{id}\": {error}"))),
        }
    }

    /// A sign of life for a deadline that this node keeps.
    async fn here(&self, sign: &Sign) -> Answer {
        let (snapshot, now) = (self.store.now(), Instant::now());
        match sign {
            Sign::Renewal { node, id } => {
                let renewed = self.leases.renew(&snapshot, node, id, now);
                renewed.map(in_ms).map_err(|error| match error {
                    RenewError::Elsewhere { .. } => NotPassedOn::Unreachable(error.to_string()),
                    _ => NotPassedOn::Gone(error.to_string()),
                })
            }
            Sign::Report { node, id, status, output } => {
                let report = self.leases.report(&snapshot, node, id, *status, output, now);
                let command = report.map_err(|error| match error {
                    ReportError::Elsewhere { .. } => NotPassedOn::Unreachable(error.to_string()),
                    _ => NotPassedOn::Gone(error.to_string()),
                })?;
                // As at the door: a sign of life of one check renews the lease of what it judges.
                let judged = sign.instance(&snapshot).filter(|_| *status != Status::Critical);
                let lease = judged.and_then(|(node, id)| self.leases.renew(&snapshot, &node, &id, now).ok());
                if let Some(command) = command {
                    let submitted = self.store.submit(command).await;
                    submitted.map_err(|error| NotPassedOn::Unreachable(error.to_string()))?;
                }
                Ok(in_ms(lease.unwrap_or_default()))
            }
        }
    }

    /// Answers other nodes, until the drain starts.
    pub(crate) async fn serve(self, drain: Drain) {
        let mut incoming = self.mesh.accept(KIND);
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                Some(stream) = incoming.recv() => {
                    let signs = self.clone();
                    open.spawn(async move { signs.answer(stream).await });
                }
                Some(_) = open.join_next(), if !open.is_empty() => {}
                () = drain.started() => return,
            }
        }
    }

    async fn answer(&self, Incoming { peer, mut stream, .. }: Incoming) {
        let exchange = async {
            let request = frame::read(&mut stream, MAX_SIGN).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let sign: Sign = serde_json::from_slice(&request)?;
            let answer = self.here(&sign).await;
            frame::write(&mut stream, &serde_json::to_vec(&answer)?).await?;
            stream.shutdown().await
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(peer, %error, "a sign of life was not answered"),
            Err(_) => tracing::debug!(peer, "a sign of life took too long to arrive"),
        }
    }
}

async fn ask(mesh: &Mesh, keeper: &str, sign: &Sign) -> io::Result<Answer> {
    let mut stream: Stream = mesh.open(keeper, KIND, Lane::Control).await.map_err(io::Error::other)?;
    frame::write(&mut stream, &serde_json::to_vec(sign)?).await?;
    stream.flush().await?;
    let answer = frame::read(&mut stream, MAX_SIGN).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(serde_json::from_slice(&answer)?)
}

fn in_ms(term: Duration) -> u64 {
    u64::try_from(term.as_millis()).unwrap_or(u64::MAX)
}

fn gone(sign: &Sign) -> NotPassedOn {
    let (Sign::Renewal { node, id } | Sign::Report { node, id, .. }) = sign;
    NotPassedOn::Gone(format!("\"{id}\" of node \"{node}\" is not registered; register it again"))
}

fn unreachable(keeper: &str, why: &str) -> NotPassedOn {
    NotPassedOn::Unreachable(format!("node \"{keeper}\" keeps the deadline and was not reached: {why}"))
}
