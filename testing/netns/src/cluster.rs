//! Daemons that were made one cluster the way an operator does it: `init` on the first, `join` on the others.

use std::path::Path;

use peers::until;
use serde_json::Value;

use crate::LIMIT;
use crate::daemon::{Daemon, Start};
use crate::error::{Failure, Missing};
use crate::lab::Lab;

/// The first so many servers vote, and later ones follow.
const VOTERS: usize = 3;

/// A daemon for each host of a lab, not all of them running, not all of them members.
pub struct Cluster<'a> {
    starts: Vec<Start<'a>>,
    daemons: Vec<Option<Daemon<'a>>>,
    token: Option<String>,
}

impl<'a> Cluster<'a> {
    /// Daemons that are to be started with their data under `folder`, each changed by `with`.
    ///
    /// # Errors
    /// The binary is missing or too old: reasons to skip.
    pub fn new(
        lab: &'a Lab,
        folder: &Path,
        with: impl Fn(usize, Start<'a>) -> Start<'a>,
    ) -> Result<Cluster<'a>, Missing> {
        let start = |(at, host): (usize, &'a crate::Host)| {
            let data = folder.join(&host.name).join("data");
            Start::new(host, data).map(|start| with(at, start))
        };
        let starts: Vec<_> = lab.hosts.iter().enumerate().map(start).collect::<Result<_, _>>()?;
        if !starts.first().is_some_and(Start::makes_clusters) {
            return Err(Missing("this portolan knows no `init`: it makes no clusters".into()));
        }
        let daemons = starts.iter().map(|_| None).collect();
        Ok(Cluster { starts, daemons, token: None })
    }

    /// Starts the first daemons (the very first may run already), makes them one cluster, and waits until those vote
    /// that are to.
    ///
    /// # Errors
    /// What a daemon or the command line says.
    pub fn form(&mut self, members: usize) -> Result<(), Failure> {
        if self.daemons[0].is_none() {
            self.start(0)?;
        }
        let begun = self.at(0).say(&["init", "--output", "json"])?;
        let begun: Value = serde_json::from_str(&begun)
            .map_err(|cause| Failure::Daemon(format!("what init says is no JSON: {cause}: {begun}")))?;
        let file = begun["OperatorTokenFile"].as_str().unwrap_or_default();
        let token = std::fs::read_to_string(file).map_err(Failure::io(format!("read {file:?}")))?;
        self.token = Some(token.trim().to_owned());
        self.at_mut(0).use_token(token.trim());
        // A cluster denies what no rule allows, and these tests are about other things.
        self.at(0).say(&["allow", "any", "any"])?;
        (1..members).try_for_each(|at| self.admit(at))?;
        // Until then the death of one of them may be that of a majority.
        let all: Vec<usize> = (0..members).collect();
        let votes = |status: &Value| {
            let voters = status["Own"]["Voters"].as_array().map_or(0, Vec::len);
            voters == members.min(VOTERS) || status["Own"]["Engine"] == "etcd"
        };
        self.all_see(&all, "/v1/portolan/status", votes)?;
        self.leader_among(&all).map(drop)
    }

    /// Starts a daemon and joins it to the cluster, by a token that another member makes.
    ///
    /// # Errors
    /// What a daemon or the command line says.
    pub fn admit(&mut self, at: usize) -> Result<(), Failure> {
        let by = self.running().next().ok_or_else(|| Failure::Daemon("nobody is running".into()))?;
        let token = self.at(by).say(&["token", "create"])?;
        self.start(at)?;
        self.at(at).say(&["join", token.trim()])?;
        Ok(())
    }

    /// Starts a daemon that is not running, and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or does not become ready.
    pub fn start(&mut self, at: usize) -> Result<(), Failure> {
        let mut daemon = self.starts[at].run()?;
        if let Some(token) = &self.token {
            daemon.use_token(token);
        }
        self.daemons[at] = Some(daemon);
        Ok(())
    }

    /// Runs the command line on a host, whether its daemon runs or not.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn cli(&self, at: usize, arguments: &[&str]) -> Result<std::process::Output, Failure> {
        self.starts[at].cli(arguments).output().map_err(Failure::io("run portolan"))
    }

    /// From its next start on, a daemon is started otherwise.
    pub fn change(&mut self, at: usize, with: impl FnOnce(Start<'a>) -> Start<'a>) {
        self.starts[at] = with(self.starts[at].clone());
    }

    /// Starts several at once, and waits for none: a cluster may need more than one of them to be ready.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn launch(&mut self, which: &[usize]) -> Result<(), Failure> {
        for at in which {
            let mut daemon = self.starts[*at].launch()?;
            if let Some(token) = &self.token {
                daemon.use_token(token);
            }
            self.daemons[*at] = Some(daemon);
        }
        Ok(())
    }

    /// Kills a daemon at once, as a power cut would.
    pub fn kill(&mut self, at: usize) {
        if let Some(daemon) = self.daemons[at].take() {
            daemon.kill();
        }
    }

    /// The daemon of a host.
    ///
    /// # Panics
    /// It does not run.
    #[allow(clippy::panic, reason = "a test that asks a daemon that it did not start is wrong")]
    pub fn at(&self, at: usize) -> &Daemon<'a> {
        self.daemons[at].as_ref().unwrap_or_else(|| panic!("daemon {at} does not run"))
    }

    #[allow(clippy::panic, reason = "as above")]
    fn at_mut(&mut self, at: usize) -> &mut Daemon<'a> {
        self.daemons[at].as_mut().unwrap_or_else(|| panic!("daemon {at} does not run"))
    }

    /// What tells the daemons who asks, once there is something to tell.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The hosts whose daemons run.
    pub fn running(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.daemons.len()).filter(|at| self.daemons[*at].is_some())
    }

    /// Who leads, as one of the daemons sees it.
    pub fn leader_seen_by(&self, at: usize) -> Option<usize> {
        let status = self.at(at).get("/v1/portolan/status").ok()?;
        let leader = status["Own"]["Leader"].as_str().filter(|name| !name.is_empty())?;
        self.starts.iter().position(|start| start.host().name == leader)
    }

    /// Waits until all of these agree on who leads, and one of them does.
    ///
    /// # Errors
    /// They never do.
    pub fn leader_among(&self, which: &[usize]) -> Result<usize, Failure> {
        self.eventually("one leader", || {
            let leader = self.leader_seen_by(*which.first()?)?;
            let agreed = which.iter().all(|at| self.leader_seen_by(*at) == Some(leader));
            (agreed && which.contains(&leader)).then_some(leader)
        })
    }

    /// Waits until a GET on every one of these daemons satisfies a condition.
    ///
    /// # Errors
    /// It never does.
    pub fn all_see(
        &self,
        which: &[usize],
        path: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<(), Failure> {
        let mut last = Vec::new();
        let seen = self.eventually(path, || {
            last = which.iter().map(|at| self.at(*at).get(path)).collect();
            last.iter().all(|answer| answer.as_ref().is_ok_and(&holds)).then_some(())
        });
        let last = last.iter().map(|answer: &Result<Value, Failure>| match answer {
            Ok(json) => json.to_string().chars().take(600).collect(),
            Err(failure) => failure.to_string(),
        });
        seen.map_err(|failure| {
            Failure::Daemon(format!("{failure}\nlast answers:\n{}", last.collect::<Vec<_>>().join("\n")))
        })
    }

    /// Polls until there is something.
    ///
    /// # Errors
    /// There never is, with the end of what each daemon said.
    pub fn eventually<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> Result<T, Failure> {
        until(LIMIT, what, look).map_err(|timeout| Failure::Daemon(format!("{timeout}\n{}", self.said())))
    }

    /// The end of what each daemon said.
    pub fn said(&self) -> String {
        let last = |at: usize| {
            let said = self.at(at).said();
            let lines: Vec<&str> = said.lines().collect();
            format!("--- {}\n{}\n", self.at(at).host.name, lines[lines.len().saturating_sub(30)..].join("\n"))
        };
        self.running().map(last).collect()
    }
}
