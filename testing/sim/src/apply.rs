//! The application's part: what a server is handed, and what it says of it.

use bytes::Bytes;
use paxos::{Command, Index, ReadId};

use crate::app::{App, KEYS};
use crate::event::Event;
use crate::oracle::Violation;
use crate::world::World;

impl World {
    pub(crate) fn restore(&mut self, host: usize, index: Index) -> Result<(), Violation> {
        let now = self.agenda.now;
        self.trace.say(now, || format!("server {host} restores the checkpoint at {index}"));
        let loaded = self.hosts[host].disk.file(index).and_then(|bytes| App::load(bytes));
        let Some(app) = loaded.filter(|app| app.applied == index) else {
            return Err(format!("server {host} is to restore {index}, which is not whole on its disk"));
        };
        self.oracle.state(host, &app)?;
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        if index <= process.app.applied {
            return Err(format!("order: server {host} goes back from {} to {index}", process.app.applied));
        }
        let before = std::mem::replace(&mut process.app, app);
        if self.variant.deaf_watchers {
            return Ok(());
        }
        for key in 0..KEYS {
            if before.keys[key].1 != process.app.keys[key].1 {
                process.watched[key] = process.app.keys[key];
            }
        }
        Ok(())
    }

    pub(crate) fn decided(
        &mut self,
        host: usize,
        at: Index,
        commands: Vec<Command>,
    ) -> Result<(), Violation> {
        self.trace.say(self.agenda.now, || {
            format!("server {host} is handed {at}..={}", at + commands.len() as Index - 1)
        });
        let mut touched = [false; KEYS];
        for (index, Command(command)) in (at..).zip(commands) {
            self.oracle.decided(host, index, &command)?;
            let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
            if index != process.app.applied + 1 {
                return Err(format!("order: server {host} is handed {index} after {}", process.app.applied));
            }
            let Some((op, new)) = process.app.apply(&command) else {
                return Err(format!("server {host} is handed a command that nobody proposed"));
            };
            if let Some(touched) = touched.get_mut(op.key as usize) {
                *touched |= new;
            }
            if op.proposer > 0 {
                let done = process.app.done[op.proposer as usize].1;
                self.acknowledge(host, op.proposer as usize, op.sequence, done);
            }
        }
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        for key in (0..KEYS).filter(|key| touched[*key]) {
            process.watched[key] = process.app.keys[key];
        }
        self.oracle.state(host, &process.app)
    }

    pub(crate) fn read_ready(&mut self, host: usize, read: ReadId, index: Index) -> Result<(), Violation> {
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        let Some((client, floor)) = process.reads.remove(&read) else { return Ok(()) };
        let applied = process.app.applied;
        if index > applied {
            return Err(format!("order: server {host} may read at {index} and was handed {applied}"));
        }
        self.oracle.read(host, floor, applied)?;
        self.answered_read(client, read);
        Ok(())
    }

    /// A server begins to write a checkpoint of what it has applied.
    pub(crate) fn save(&mut self, host: usize, life: u32) {
        if self.hosts[host].life != life {
            return;
        }
        let next = self.rng.below(self.plan.checkpoint_every_us * 2);
        self.agenda.after(next.max(1_000), Event::Save { host, life });
        let Some(process) = &mut self.hosts[host].process else { return };
        if process.saving.is_none() && process.app.applied > 0 {
            let bytes: Bytes = process.app.save();
            process.saving = Some((process.app.applied, bytes));
            let time = self.rng.below(10_000);
            self.agenda.after(time, Event::Saved { host, life });
        }
    }

    pub(crate) fn saved(&mut self, host: usize, life: u32) -> Result<(), Violation> {
        if self.hosts[host].life != life {
            return Ok(());
        }
        let server = &mut self.hosts[host];
        let Some(process) = &mut server.process else { return Ok(()) };
        if let Some((index, bytes)) = process.saving.take() {
            server.disk.keep_file(index, bytes);
            process.driver.handle_checkpoint(index);
        }
        self.pump(host)
    }
}
