//! What the driver wants done.

use paxos::{Command, Effect, Index, Lane, ServerId, Session};

use super::engine::{Engine, Reading};
use super::wire::{self, Note};
use crate::{Checkpoint, Entry, Event, LogError};

impl Engine {
    pub(super) fn effect(&mut self, effect: Effect) -> Result<(), LogError> {
        match effect {
            Effect::Send { peer, session, frame } => self.send(peer, session, &frame),
            Effect::Reset { peer, session } => self.transport.reset(peer, session.0),
            Effect::Restore(index) => self.restore(index)?,
            Effect::Decided { at, commands } => self.decided(at, commands),
            Effect::Configured(configuration) => {
                tracing::info!(
                    "configuration {} is in force from index {}: {} voting servers",
                    configuration.id,
                    configuration.base + 1,
                    configuration.members().len()
                );
                self.publish_cluster();
            }
            Effect::ReadReady { read, index } => self.read_ready(read, index),
            Effect::ReadCheckpoint { peer, session, index, offset, max } => {
                let piece = self.states.read(index, offset, max)?;
                self.driver.handle_piece(peer, session, piece);
            }
            Effect::Refused { peer, why } => {
                tracing::warn!("server {peer} is not listened to: {why}");
                self.shared.cluster().refused.insert(peer, why.to_string());
            }
            Effect::Released => self.shared.cluster().released = true,
        }
        Ok(())
    }

    fn send(&mut self, peer: ServerId, session: Session, frame: &paxos::Frame) {
        let lane = frame.lane();
        let parts = match wire::cut(frame) {
            Ok(parts) => parts,
            Err(why) => {
                // No frame that the driver makes causes this; if one does, the session cannot go on without it.
                tracing::error!("a frame for server {peer} cannot be encoded: {why}");
                return self.transport.reset(peer, session.0);
            }
        };
        for part in parts {
            if self.transport.send(peer, session.0, lane, part).is_err() {
                // The session has ended; its Down is on its way.
                return;
            }
        }
    }

    pub(super) fn send_note(&self, peer: ServerId, session: u64, note: &Note) {
        match wire::note(note) {
            // A session that has ended loses it: notes are asked again.
            Ok(part) => drop(self.transport.send(peer, session, Lane::Order, part)),
            Err(why) => tracing::error!("a note for server {peer} cannot be encoded: {why}"),
        }
    }

    fn restore(&mut self, index: Index) -> Result<(), LogError> {
        let state = self.states.load(index)?;
        {
            let mut progress = self.shared.progress();
            progress.last = index;
            progress.checkpoint = index;
            progress.bytes = 0;
        }
        self.events.send(Event::Restore(Checkpoint { index, state }));
        Ok(())
    }

    /// It counts before anyone hears of it, so that no barrier is ever behind.
    fn decided(&mut self, at: Index, commands: Vec<Command>) {
        let (count, bytes) = self.pending.settle(&commands);
        {
            let mut progress = self.shared.progress();
            progress.last = at + commands.len() as Index - 1;
            progress.bytes += commands.iter().map(|Command(payload)| payload.len() as u64).sum::<u64>();
        }
        let entries = (at..).zip(commands).map(|(index, Command(payload))| Entry { index, payload });
        let event = Event::Entries(entries.collect());
        self.shared.inbox.decided(count, bytes, || self.events.send(event));
    }

    fn read_ready(&mut self, read: paxos::ReadId, index: Index) {
        match self.reading.remove(&read) {
            // Who asked may have lost interest.
            Some(Reading::Barrier { done, .. }) => drop(done.send(Ok(index))),
            Some(Reading::Probe(probe)) => {
                self.probe = None;
                let again = self.pending.conclude(probe);
                if again > 0 {
                    tracing::debug!("{again} commands were lost on their way and are proposed again");
                }
            }
            None => {}
        }
    }

    /// Tells who waits for a checkpoint that it is in force.
    pub(super) fn settle_saved(&mut self) {
        if self.saved.is_empty() {
            return;
        }
        let in_force = self.driver.image(|image| image.checkpoint());
        {
            let mut progress = self.shared.progress();
            if in_force > progress.checkpoint {
                progress.checkpoint = in_force;
            }
        }
        for (_, done) in self.saved.extract_if(.., |(index, _)| *index <= in_force) {
            drop(done.send(Ok(())));
        }
    }
}
