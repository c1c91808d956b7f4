//! The programs of the lab: Consul and the role on the client's host, a name server outside.

use peers::{Running, until};
use rustix::process::Signal;

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
        self.restart_as("lheureduthe")
    }

    /// The same as another node: what is asked about the first one is answered `null`.
    ///
    /// # Errors
    /// What it said.
    pub fn restart_as(&mut self, node: &str) -> Fallible<()> {
        self.kill();
        let mut command = self.home.inside(peers::tool("consul")?);
        command.args(["agent", "-dev", "-bind=127.0.0.1", "-client=127.0.0.1"]).arg(format!("-node={node}"));
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

    /// Holds it where it is: connections are taken by the kernel, and nothing is answered. Until [`Consul::go_on`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn stall(&self) -> Fallible<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on where it was held.
    ///
    /// # Errors
    /// The kernel's.
    pub fn go_on(&self) -> Fallible<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Fallible<()> {
        Ok(self.agent.as_ref().ok_or("it does not run")?.signal(signal)?)
    }

    /// A request to its API as an agent's neighbour makes it.
    ///
    /// # Errors
    /// What it said.
    pub fn put(&self, path: &str, body: &str) -> Fallible<()> {
        let url = format!("http://127.0.0.1:8500{path}");
        let output = self.home.inside("curl").args(["-sf", "-X", "PUT", "-d", body, &url]).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("PUT {path}: {}", String::from_utf8_lossy(&output.stdout)).into())
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

    /// Any other command of Consul's.
    ///
    /// # Errors
    /// What it said.
    pub fn say(&self, args: &[&str]) -> Fallible<()> {
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
        self.daemon.signal(Signal::TERM)?;
        let status = self.daemon.ended(LIMIT)?;
        if status.success() { Ok(()) } else { Err(format!("{status}\n{}", self.said()).into()) }
    }

    /// Ends it at once, as a power cut does.
    pub fn kill(mut self) {
        self.daemon.kill();
    }
}

/// A real Knot in the world, which shows the names of `example.test` to whoever asks and takes updates that
/// are signed with [`NameServer::KEY`].
pub struct NameServer<'a> {
    home: &'a Home,
    server: Option<Running>,
}

impl<'a> NameServer<'a> {
    /// Where it listens.
    pub const ADDRESS: &'static str = "45.83.0.2:5353";
    /// As `tsig-keygen` prints one.
    pub const KEY: &'static str = "key \"ddns-key\" { algorithm hmac-sha256; secret \"cG9ydG9sYW4tcG9ydG9sYW4tcG9ydG9sYW4tMTIzNA==\"; };\n";

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// What it said.
    pub fn start(home: &'a Home) -> Fallible<NameServer<'a>> {
        let place = home.folder.path().join("knot");
        std::fs::create_dir(&place)?;
        let zone = "$TTL 60\n@ SOA ns hostmaster 1 60 60 60 60\n@ NS ns\nns A 45.83.0.2\n";
        std::fs::write(place.join("example.test.zone"), zone)?;
        let place = place.display();
        let config = format!(
            "server:\n    rundir: \"{place}\"\n    listen: 45.83.0.2@5353\ndatabase:\n    storage: \"{place}\"\n\
             key:\n  - id: ddns-key\n    algorithm: hmac-sha256\n    secret: cG9ydG9sYW4tcG9ydG9sYW4tcG9ydG9sYW4tMTIzNA==\n\
             acl:\n  - id: ddns\n    key: ddns-key\n    action: [update, transfer]\n\
             zone:\n  - domain: example.test\n    storage: \"{place}\"\n    file: example.test.zone\n    acl: ddns\n"
        );
        std::fs::write(home.folder.path().join("knot.conf"), config)?;
        let mut names = NameServer { home, server: None };
        names.restart()?;
        Ok(names)
    }

    /// Starts it again, with what it kept.
    ///
    /// # Errors
    /// What it said.
    pub fn restart(&mut self) -> Fallible<()> {
        self.stop();
        let home = self.home;
        let mut command = home.outside(peers::tool("knotd")?);
        command.arg("-c").arg(home.folder.path().join("knot.conf"));
        let mut server = Running::start(&mut command)?;
        server.wait_until(LIMIT, "the name server to answer", || {
            ask(home, "ns.example.test", "A") == ["45.83.0.2"]
        })?;
        self.server = Some(server);
        Ok(())
    }

    /// Ends it.
    pub fn stop(&mut self) {
        drop(self.server.take());
    }

    /// Section `[[public_dns]]` for the daemon, with a key file that is written for it.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn section(&self, key: &str) -> Fallible<String> {
        let path = self.home.folder.path().join("ddns.key");
        std::fs::write(&path, key)?;
        let (server, path) = (NameServer::ADDRESS, path.display());
        Ok(format!(
            "[[public_dns]]\nkind = \"rfc2136\"\nzones = [\"example.test\"]\nserver = \"{server}\"\nkey_file = \"{path}\"\n"
        ))
    }

    /// What the world is answered now, in order.
    pub fn answers(&self, name: &str, kind: &str) -> Vec<String> {
        ask(self.home, name, kind)
    }

    /// Waits until the world is answered exactly this.
    ///
    /// # Errors
    /// After a while, with what it was answered.
    pub fn shows(&self, name: &str, kind: &str, wanted: &[&str]) -> Fallible<()> {
        let mut last = Vec::new();
        let done = until(LIMIT, name, || {
            last = ask(self.home, name, kind);
            (last == wanted).then_some(())
        });
        done.map_err(|timeout| format!("{timeout}; it was {last:?}").into())
    }
}

fn ask(home: &Home, name: &str, kind: &str) -> Vec<String> {
    let args = ["@45.83.0.2", "-p", "5353", "+short", "+tries=1", "+time=2", name, kind];
    let Ok(dig) = peers::tool("dig") else { return Vec::new() };
    let output = home.outside(dig).args(args).output();
    let text = output.map_or_else(|_| String::new(), |out| String::from_utf8_lossy(&out.stdout).into_owned());
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
