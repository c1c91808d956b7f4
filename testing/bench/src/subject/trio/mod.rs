//! Three servers on this machine that agree on one order: ours, or Debian's etcd. Each can be killed and started
//! again with its disk.

mod etcd;
mod portolan;

pub(crate) use portolan::Newcomer;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use peers::{Running, reserve_port};
use tempfile::TempDir;

use crate::harness::cores::Cores;
use crate::harness::{Context, process};

/// How long a start, an election or a stop may take before it counts as failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Portolan,
    Etcd,
}

/// A running trio; gone with the value.
pub(crate) struct Trio {
    pub(crate) kind: Kind,
    /// What the clients of ours have to show.
    pub(crate) token: Option<String>,
    servers: Vec<Server>,
    folder: TempDir,
}

struct Server {
    /// Where clients ask.
    address: SocketAddr,
    recipe: Recipe,
    process: Option<Running>,
}

/// How a server is started, and started again.
struct Recipe {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
}

impl Recipe {
    fn start(&self, cores: &Cores) -> Result<Running> {
        let mut command = cores.server(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(Running::start(&mut command)?)
    }
}

impl Trio {
    /// Starts three servers with empty disks and waits until they have a leader.
    pub(crate) fn start(kind: Kind, context: &Context, cores: &Cores) -> Result<Trio> {
        let folder = tempfile::tempdir_in(&context.scratch).context("make a folder for three servers")?;
        let trio = match kind {
            Kind::Portolan => portolan::start(folder, context, cores)?,
            Kind::Etcd => etcd::start(folder, cores)?,
        };
        trio.leader(&[0, 1, 2])?;
        Ok(trio)
    }

    /// Where clients ask, one address for each server.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.address).collect()
    }

    /// Where programs ask the broker of one of ours.
    pub(crate) fn broker(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("n{at}")).join(portolan::BROKER)
    }

    /// The command line of one of ours.
    pub(crate) fn cli(&self, at: usize, arguments: &[&str]) -> Result<String> {
        portolan::cli(&self.servers[at].recipe, arguments)
    }

    /// Index of the last command that one of ours has applied.
    pub(crate) fn applied(&self, at: usize) -> Result<u64> {
        portolan::applied(self.servers[at].address).context("ask for the applied index")
    }

    /// CPU time of all three so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.servers
            .iter()
            .filter_map(|server| server.process.as_ref())
            .map(|one| process::cpu(one.pid()))
            .sum()
    }

    /// Waits until all of these name the same leader, and it is one of them.
    pub(crate) fn leader(&self, among: &[usize]) -> Result<usize> {
        let agreed = || {
            let seen: Option<Vec<usize>> = among.iter().map(|at| self.leader_seen_by(*at)).collect();
            let leader = *seen.as_ref()?.first()?;
            (seen?.iter().all(|one| *one == leader) && among.contains(&leader)).then_some(leader)
        };
        peers::until(LIMIT, "three servers to agree on a leader", agreed)
            .map_err(|timeout| anyhow!("{timeout}: {}", self.said()))
    }

    fn leader_seen_by(&self, at: usize) -> Option<usize> {
        match self.kind {
            Kind::Portolan => portolan::leader(self.servers[at].address),
            Kind::Etcd => {
                let members: Vec<_> =
                    self.servers.iter().map(|server| etcd::status(server.address)).collect();
                let leader = members[at]?.leader;
                members.iter().position(|status| status.is_some_and(|status| status.member == leader))
            }
        }
    }

    /// Kills one at once, as a power cut would; when that was.
    pub(crate) fn kill(&mut self, at: usize) -> Result<Instant> {
        let mut process = self.servers[at].process.take().context("it does not run")?;
        let now = Instant::now();
        process.kill();
        Ok(now)
    }

    /// Starts one again with its disk, and waits until all three agree on a leader.
    pub(crate) fn restart(&mut self, at: usize, cores: &Cores) -> Result<()> {
        ensure!(self.servers[at].process.is_none(), "it runs");
        self.servers[at].process = Some(self.servers[at].recipe.start(cores)?);
        self.leader(&[0, 1, 2]).map(drop)
    }

    fn said(&self) -> String {
        let said = self.servers.iter().filter_map(|server| Some(server.process.as_ref()?.said()));
        said.collect::<Vec<_>>().join("\n---\n")
    }
}

fn loopback() -> Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, reserve_port().context("find a port")?).into())
}

#[cfg(test)]
mod tests {
    use super::{Kind, Trio};
    use crate::harness::Context;
    use crate::harness::cores::Cores;
    use crate::load::keys::{Op, clients, fill};
    use crate::load::{Client, runtime};

    #[test]
    fn etcd_takes_our_load_and_survives_its_leader() {
        if let Err(missing) = crate::subject::etcd::program() {
            return println!("{missing}");
        }
        let scratch = tempfile::tempdir().unwrap();
        let context = Context {
            portolan: "".into(),
            scratch: scratch.path().into(),
            rounds: 1,
            quick: true,
            awake: crate::harness::cores::Awake::missing(),
        };
        let cores = Cores::split().unwrap();
        let mut trio = Trio::start(Kind::Etcd, &context, &cores).unwrap();
        runtime().unwrap().block_on(async {
            fill(&trio).await.unwrap();
            for op in [Op::Write, Op::Linearizable, Op::Stale] {
                for client in &mut clients(&trio, op, 30).await.unwrap() {
                    client.step(7).await.unwrap();
                }
            }
        });
        let leader = trio.leader(&[0, 1, 2]).unwrap();
        trio.kill(leader).unwrap();
        let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
        assert!(others.contains(&trio.leader(&others).unwrap()));
        trio.restart(leader, &cores).unwrap();
    }
}
