//! The ordinary daemon on the client's host, and its command line.

use std::fmt::Write as _;
use std::path::PathBuf;

use peers::{Running, until};

use crate::LIMIT;
use crate::guest::Guest;
use crate::home::{Fallible, Home};

/// Beside Consul's, which may run on the same host.
const API: &str = "127.0.0.1:8510";

/// `portolan serve` with `[exposure]` enabled.
pub struct Daemon<'a> {
    home: &'a Home,
    config: PathBuf,
    wrap: Vec<String>,
    running: Option<Running>,
    place: Place<'a>,
    token: Option<String>,
}

/// Where a daemon runs.
#[derive(Clone, Copy)]
enum Place<'a> {
    Client,
    Outside,
    Guest(&'a Guest),
}

/// What daemons differ in.
struct Begin<'a> {
    name: &'a str,
    wrap: &'a [String],
    lease: &'a str,
    more: &'a str,
}

impl<'a> Daemon<'a> {
    /// Starts it with this beside what every test needs, which goes on the section `[exposure]`, and waits until
    /// it answers.
    ///
    /// # Errors
    /// What it said.
    pub fn start(home: &'a Home, more: &str) -> Fallible<Daemon<'a>> {
        Daemon::start_by(home, &[], more)
    }

    /// The same by another program, given with its arguments, that starts it.
    ///
    /// # Errors
    /// What it said.
    pub fn start_by(home: &'a Home, wrap: &[String], more: &str) -> Fallible<Daemon<'a>> {
        Daemon::begin(home, Place::Client, Begin { name: "house", wrap, lease: "60s", more })
    }

    /// The same as [`Daemon::start`] with another lease of mappings.
    ///
    /// # Errors
    /// What it said.
    pub fn start_by_lease(home: &'a Home, lease: &str, more: &str) -> Fallible<Daemon<'a>> {
        Daemon::begin(home, Place::Client, Begin { name: "house", wrap: &[], lease, more })
    }

    /// The same on the host outside, which has a public address: a rented machine.
    ///
    /// # Errors
    /// What it said.
    pub fn start_outside(home: &'a Home, more: &str) -> Fallible<Daemon<'a>> {
        Daemon::begin(home, Place::Outside, Begin { name: "rented", wrap: &[], lease: "60s", more })
    }

    /// The same on another host, as a node of this name, with this lease of mappings.
    ///
    /// # Errors
    /// What it said.
    pub fn start_on(
        home: &'a Home,
        guest: &'a Guest,
        name: &str,
        lease: &str,
        more: &str,
    ) -> Fallible<Daemon<'a>> {
        Daemon::begin(home, Place::Guest(guest), Begin { name, wrap: &[], lease, more })
    }

    fn begin(home: &'a Home, place: Place<'a>, begin: Begin<'_>) -> Fallible<Daemon<'a>> {
        let Begin { name, wrap, lease, more } = begin;
        let mut text = String::new();
        let folder = home.folder.path().display();
        let _ = write!(
            text,
            "[node]\nname = \"{name}\"\ndata_dir = \"{folder}/{name}\"\nopen_beyond_loopback = true\n[logging]\nlevel = \"info\"\n\
             [api]\nlisten = [\"{API}\"]\n\
             [exposure]\nenabled = true\nrefresh = \"1s\"\nlease = \"{lease}\"\n{more}\n"
        );
        let config = home.folder.path().join(format!("{name}.toml"));
        std::fs::write(&config, text)?;
        let mut daemon = Daemon { home, config, wrap: wrap.to_vec(), running: None, place, token: None };
        daemon.restart()?;
        Ok(daemon)
    }

    /// Starts it again, with what it kept.
    ///
    /// # Errors
    /// What it said.
    pub fn restart(&mut self) -> Fallible<()> {
        self.kill();
        let program = peers::portolan()?;
        let mut command = match self.wrap.split_first() {
            Some((wrapper, arguments)) => {
                let mut command = self.place(wrapper.as_ref());
                command.args(arguments).arg(program);
                command
            }
            None => self.place(&program),
        };
        command.arg("serve").arg("--config").arg(&self.config).env("RUST_LOG", "info");
        let mut running = Running::start(&mut command)?;
        running.wait_until(LIMIT, "the daemon to answer", || self.say(&["services"]).is_ok())?;
        self.running = Some(running);
        Ok(())
    }

    fn place(&self, program: &std::path::Path) -> std::process::Command {
        match self.place {
            Place::Client => self.home.inside(program),
            Place::Outside => self.home.outside(program),
            Place::Guest(guest) => guest.run(program),
        }
    }

    /// Makes it the first node of a cluster; the operator's token, which its next questions carry.
    ///
    /// # Errors
    /// What it said.
    pub fn init(&mut self) -> Fallible<String> {
        let begun = self.say(&["init", "--output", "json"])?;
        let file = begun.split("\"OperatorTokenFile\":").nth(1).and_then(|rest| rest.split('"').nth(1));
        let token =
            std::fs::read_to_string(file.ok_or("no file with the token is named")?)?.trim().to_owned();
        self.use_token(&token);
        until(LIMIT, "the cluster to decide", || self.say(&["allow", "any", "any"]).ok())?;
        Ok(token)
    }

    /// What it is asked from now on carries this token.
    pub fn use_token(&mut self, token: &str) {
        self.token = Some(token.to_owned());
    }

    /// A command of its own command line.
    ///
    /// # Errors
    /// What it said when it failed.
    pub fn say(&self, args: &[&str]) -> Fallible<String> {
        let mut command = self.place(&peers::portolan()?);
        if let Some(token) = &self.token {
            command.env("PORTOLAN_TOKEN", token);
        }
        let output = command.args(["--api", API]).args(args).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(said),
            false => Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)).into()),
        }
    }

    /// Its configuration file.
    pub fn config(&self) -> &std::path::Path {
        &self.config
    }

    /// Where it keeps what it must not forget.
    pub fn data_dir(&self) -> PathBuf {
        self.config.with_extension("")
    }

    /// Waits until `portolan exposures` says this.
    ///
    /// # Errors
    /// After a while, with what it said instead.
    pub fn shows(&self, text: &str) -> Fallible<()> {
        let mut last = String::new();
        let done = until(LIMIT, text, || {
            last = self.say(&["exposures"]).unwrap_or_else(|error| error.to_string());
            last.contains(text).then_some(())
        });
        done.map_err(|timeout| format!("{timeout}; it showed\n{last}\n{}", self.said()).into())
    }

    /// Waits until `portolan exposures --output json` says this, which also has problems that are nobody's link.
    ///
    /// # Errors
    /// After a while, with what it said instead.
    pub fn tells(&self, text: &str) -> Fallible<()> {
        let mut last = String::new();
        let done = until(LIMIT, text, || {
            last = self.say(&["exposures", "--output", "json"]).unwrap_or_else(|error| error.to_string());
            last.contains(text).then_some(())
        });
        done.map_err(|timeout| format!("{timeout}; it told\n{last}\n{}", self.said()).into())
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

    /// Waits until exactly this is exposed, at the router and in the firewall, see [`Home::exposed`].
    ///
    /// # Errors
    /// After a while, with what was and what the daemon said.
    pub fn exposes(&self, wanted: &[&str]) -> Fallible<()> {
        let mut last = Vec::new();
        let done = until(LIMIT, "what is exposed", || {
            last = self.home.exposed().unwrap_or_default();
            (last == wanted).then_some(())
        });
        done.map_err(|timeout| format!("{timeout}; it was {last:?}\n{}", self.said()).into())
    }

    /// What each of its threads may: the effective sets of proc(5).
    ///
    /// # Errors
    /// Tables that cannot be read.
    pub fn rights(&self) -> Fallible<Vec<u64>> {
        let pid = self.running.as_ref().ok_or("it does not run")?.pid();
        let mut rights = Vec::new();
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let status = std::fs::read_to_string(thread?.path().join("status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).ok_or("no CapEff")?;
            rights.push(u64::from_str_radix(line.trim(), 16)?);
        }
        Ok(rights)
    }

    /// Everything that it has said.
    pub fn said(&self) -> String {
        self.running.as_ref().map_or_else(String::new, Running::said)
    }

    /// Ends it by SIGTERM and waits for it.
    ///
    /// # Errors
    /// When it does not end, or not well.
    pub fn stop(&mut self) -> Fallible<()> {
        self.stop_and_hear().map(drop)
    }

    /// The same, with everything that it has said.
    ///
    /// # Errors
    /// When it does not end, or not well.
    pub fn stop_and_hear(&mut self) -> Fallible<String> {
        let Some(mut running) = self.running.take() else { return Ok(String::new()) };
        running.signal(rustix::process::Signal::TERM)?;
        let status = running.ended(LIMIT)?;
        if status.success() {
            Ok(running.said())
        } else {
            Err(format!("{status}\n{}", running.said()).into())
        }
    }

    /// Ends it at once, as a power cut does.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill();
        }
    }
}
