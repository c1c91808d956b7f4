//! The ordinary daemon on the client's host, and its command line.

use std::fmt::Write as _;
use std::path::PathBuf;

use peers::{Running, until};

use crate::LIMIT;
use crate::home::{Fallible, Home};

/// `portolan serve` with `[exposure]` enabled.
pub struct Daemon<'a> {
    home: &'a Home,
    config: PathBuf,
    running: Option<Running>,
}

impl<'a> Daemon<'a> {
    /// Starts it with this beside what every test needs, and waits until it answers.
    ///
    /// # Errors
    /// What it said.
    pub fn start(home: &'a Home, more: &str) -> Fallible<Daemon<'a>> {
        let mut text = String::new();
        let folder = home.folder.path().display();
        let _ = write!(
            text,
            "[node]\nname = \"house\"\ndata_dir = \"{folder}/data\"\n[logging]\nlevel = \"info\"\n\
             [exposure]\nenabled = true\nrefresh = \"1s\"\nlease = \"60s\"\n{more}\n"
        );
        let config = home.folder.path().join("portolan.toml");
        std::fs::write(&config, text)?;
        let mut daemon = Daemon { home, config, running: None };
        daemon.restart()?;
        Ok(daemon)
    }

    /// Starts it again, with what it kept.
    ///
    /// # Errors
    /// What it said.
    pub fn restart(&mut self) -> Fallible<()> {
        self.kill();
        let mut command = self.home.inside(peers::portolan()?);
        command.arg("serve").arg("--config").arg(&self.config).env("RUST_LOG", "info");
        let mut running = Running::start(&mut command)?;
        running.wait_until(LIMIT, "the daemon to answer", || self.say(&["services"]).is_ok())?;
        self.running = Some(running);
        Ok(())
    }

    /// A command of its own command line.
    ///
    /// # Errors
    /// What it said when it failed.
    pub fn say(&self, args: &[&str]) -> Fallible<String> {
        let mut command = self.home.inside(peers::portolan()?);
        let output = command.args(["--api", "127.0.0.1:8500"]).args(args).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(said),
            false => Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)).into()),
        }
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

    /// Everything that it has said.
    pub fn said(&self) -> String {
        self.running.as_ref().map_or_else(String::new, Running::said)
    }

    /// Ends it by SIGTERM and waits for it.
    ///
    /// # Errors
    /// When it does not end, or not well.
    pub fn stop(&mut self) -> Fallible<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        running.signal(rustix::process::Signal::TERM)?;
        let status = running.ended(LIMIT)?;
        if status.success() { Ok(()) } else { Err(format!("{status}\n{}", running.said()).into()) }
    }

    /// Ends it at once, as a power cut does.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill();
        }
    }
}
