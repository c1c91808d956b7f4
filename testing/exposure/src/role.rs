//! The programs that run on the client's host: Consul and the role.

use peers::{Running, until};

use crate::LIMIT;
use crate::home::{Fallible, Home};

/// A real Consul, one node, `lheureduthe`.
pub struct Consul<'a> {
    home: &'a Home,
    agent: Option<Running>,
}

impl<'a> Consul<'a> {
    /// Starts it and waits until it leads itself.
    ///
    /// # Errors
    /// What it said.
    pub fn start(home: &'a Home) -> Fallible<Consul<'a>> {
        let mut consul = Consul { home, agent: None };
        consul.restart()?;
        Ok(consul)
    }

    /// Starts it anew, with nothing registered and its index where it begins.
    ///
    /// # Errors
    /// What it said.
    pub fn restart(&mut self) -> Fallible<()> {
        self.kill();
        let mut command = self.home.inside(peers::tool("consul")?);
        command.args(["agent", "-dev", "-node=lheureduthe", "-bind=127.0.0.1", "-client=127.0.0.1"]);
        command.args(["-dns-port=-1", "-grpc-port=-1", "-log-level=err"]);
        let mut agent = Running::start(&mut command)?;
        agent.wait_until(LIMIT, "Consul to lead", || {
            let leader =
                self.home.inside("curl").args(["-sf", "http://127.0.0.1:8500/v1/status/leader"]).output();
            leader.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("8300"))
        })?;
        self.agent = Some(agent);
        Ok(())
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill();
        }
    }

    /// `consul services register -name=… -tag=…`
    ///
    /// # Errors
    /// What it said.
    pub fn register(&self, name: &str, tag: &str) -> Fallible<()> {
        self.say(&["services", "register", &format!("-name={name}"), &format!("-tag={tag}")])
    }

    /// `consul services deregister -id=…`
    ///
    /// # Errors
    /// What it said.
    pub fn deregister(&self, id: &str) -> Fallible<()> {
        self.say(&["services", "deregister", &format!("-id={id}")])
    }

    fn say(&self, args: &[&str]) -> Fallible<()> {
        let output = self.home.inside(peers::tool("consul")?).args(args).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("consul {args:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// The daemon in Diplonat's role, started as the original was: by its environment.
pub struct Role<'a> {
    home: &'a Home,
    daemon: Running,
}

impl<'a> Role<'a> {
    /// Starts it with these variables besides the node's name.
    ///
    /// # Errors
    /// A binary that is not built.
    pub fn start(home: &'a Home, variables: &[(&str, &str)]) -> Fallible<Role<'a>> {
        let mut command = home.inside(peers::portolan()?);
        command.env("DIPLONAT_CONSUL_NODE_NAME", "lheureduthe").env("RUST_LOG", "debug,hyper=info");
        command.envs(variables.iter().copied());
        Ok(Role { home, daemon: Running::start(&mut command)? })
    }

    /// Waits until the router holds exactly these mappings.
    ///
    /// # Errors
    /// After a while, with what it held and what the daemon said.
    pub fn mapped(&self, wanted: &[&str]) -> Fallible<()> {
        let mut last = Vec::new();
        let done = until(LIMIT, "the router's mappings", || {
            last = self.home.mappings().unwrap_or_default();
            (last == wanted).then_some(())
        });
        done.map_err(|timeout| format!("{timeout}; it held {last:?}\n{}", self.said()).into())
    }

    /// Waits until it has said this.
    ///
    /// # Errors
    /// After a while, with what it said instead.
    pub fn says(&self, text: &str) -> Fallible<()> {
        let done = until(LIMIT, text, || self.said().contains(text).then_some(()));
        done.map_err(|timeout| format!("{timeout}\n{}", self.said()).into())
    }

    /// Everything that it has said.
    pub fn said(&self) -> String {
        self.daemon.said()
    }

    /// Ends it by SIGTERM and waits for it.
    ///
    /// # Errors
    /// When it does not end, or not well.
    pub fn stop(mut self) -> Fallible<()> {
        self.daemon.signal(rustix::process::Signal::TERM)?;
        let status = self.daemon.ended(LIMIT)?;
        if status.success() { Ok(()) } else { Err(format!("{status}\n{}", self.said()).into()) }
    }

    /// Ends it at once, as a power cut does.
    pub fn kill(mut self) {
        self.daemon.kill();
    }
}
