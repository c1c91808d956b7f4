//! After healing: do the servers come together, and does everybody know everything?

use paxos::{Configuration, Index};

use crate::event::Event;
use crate::oracle::Violation;
use crate::plan::Micros;
use crate::world::World;

/// Simulated time that a healed cluster has to come together.
const PATIENCE_US: Micros = 20_000_000;

impl World {
    /// Looks whether the lifetime may end well, or must end badly.
    pub(crate) fn check(&mut self) -> Result<bool, Violation> {
        let unsettled = match self.unsettled() {
            None => {
                self.compare()?;
                return Ok(true);
            }
            Some(unsettled) => unsettled,
        };
        if self.healed_at.is_some_and(|healed| self.now() > healed + PATIENCE_US) {
            self.describe();
            return Err(format!("convergence: {unsettled}"));
        }
        self.agenda.after(50_000, Event::Check);
        Ok(false)
    }

    /// The newest configuration that anybody has taken up, or is about to.
    pub(crate) fn newest(&self) -> Option<Configuration> {
        let disks = self.hosts.iter().filter_map(|host| host.disk.image().configuration().cloned());
        let running = self.hosts.iter().filter_map(|host| host.process.as_ref());
        let minds =
            running.filter_map(|process| process.driver.image(|image| image.configuration().cloned()));
        disks.chain(minds).max_by_key(|configuration| configuration.id)
    }

    /// For a trace: how everybody stands.
    fn describe(&self) {
        for (at, host) in self.hosts.iter().enumerate() {
            if let Some(process) = &host.process {
                self.trace.say(self.now(), || format!("server {at}: {:?}", process.driver));
            }
        }
    }

    /// What has not come together yet.
    fn unsettled(&self) -> Option<String> {
        if let Some(client) = self.clients.iter().find(|client| !client.is_idle()) {
            return Some(format!("client {} waits for an answer", client.proposer));
        }
        let newest = self.newest()?;
        let all: Index = self.oracle.len();
        let mut leader = None;
        for (at, host) in self.hosts.iter().enumerate() {
            if host.gone || host.impostor {
                continue;
            }
            let Some(process) = &host.process else { return Some(format!("server {at} is down")) };
            let status = process.driver.status();
            if status.emitted != all {
                return Some(format!("server {at} was handed {} of {all}: {status:?}", status.emitted));
            }
            if !newest.contains(host.identity.server) {
                continue;
            }
            if status.configuration.as_ref() != Some(&newest) {
                return Some(format!("server {at} is not in {newest:?}: {status:?}"));
            }
            let leads = status.leader.filter(|(_, at_work)| *at_work);
            if leads.is_none() || leader.is_some_and(|known| Some(known) != leads) {
                return Some(format!("server {at} takes {leads:?} for the leader, others {leader:?}"));
            }
            leader = leads;
        }
        None
    }

    /// Every server shows the same state, and every watcher the last value.
    fn compare(&self) -> Result<(), Violation> {
        for (at, host) in self.hosts.iter().enumerate() {
            let Some(process) = host.process.as_ref().filter(|_| !host.gone && !host.impostor) else {
                continue;
            };
            self.oracle.state(at, &process.app)?;
            if process.watched != process.app.keys {
                return Err(format!("watch: a watcher at server {at} missed a change"));
            }
            let held = process.driver.status().held_bytes;
            if held > 0 {
                return Err(format!("memory: server {at} still holds {held} bytes for peers"));
            }
        }
        Ok(())
    }
}
