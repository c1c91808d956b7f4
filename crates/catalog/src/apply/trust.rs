//! Roots, issuers, denied keys and the mode.

use std::sync::Arc;

use bytes::Bytes;

use crate::apply::Turn;
use crate::command::Refusal;
use crate::members::{ClusterCommand, ClusterRefusal};
use crate::model::Settings;
use crate::trust::{Denied, Issuer, KeyHash, Mode, Root, RootState};
use crate::validate;

/// Most roots at one time: the active one, and those that come and go around a rotation.
const MOST_ROOTS: usize = 8;
/// Most denied keys.
const MOST_DENIED: usize = 65_536;

type Result = std::result::Result<bool, Refusal>;

impl Turn<'_> {
    /// What is left of the commands on a founded cluster.
    pub(super) fn trust(&mut self, command: &ClusterCommand) -> Result {
        match command {
            ClusterCommand::SetIssuer(issuer) => self.set_issuer(issuer),
            ClusterCommand::AddRoot { key, certificate, cross } => {
                self.add_root(*key, certificate, cross.as_ref())
            }
            ClusterCommand::PromoteRoot { key } => self.promote_root(*key),
            ClusterCommand::DropRoot { key } => self.drop_root(*key),
            ClusterCommand::Deny { key, reason } => self.deny(*key, reason, 0),
            ClusterCommand::Allow { key } => Ok(self.allow(*key)),
            ClusterCommand::SetMode(mode) => Ok(self.set_mode(*mode)),
            // Members and lives: decided before this is reached.
            _ => Ok(false),
        }
    }

    fn set_issuer(&mut self, issuer: &Issuer) -> Result {
        if self.state.cluster.member(&issuer.node).is_none() {
            return Err(ClusterRefusal::UnknownMember(issuer.node.clone()).into());
        }
        self.may_issue(issuer)?;
        Ok(self.put_issuer(issuer))
    }

    pub(super) fn may_issue(&self, issuer: &Issuer) -> std::result::Result<(), Refusal> {
        validate::certificate(&issuer.certificate)?;
        if self.state.cluster.root(issuer.root).is_none() {
            return Err(ClusterRefusal::UnknownRoot(issuer.root).into());
        }
        if self.state.cluster.is_denied(issuer.key) {
            return Err(ClusterRefusal::DeniedKey(issuer.key).into());
        }
        Ok(())
    }

    pub(super) fn put_issuer(&mut self, issuer: &Issuer) -> bool {
        if self.state.cluster.issuer(&issuer.node).is_some_and(|known| **known == *issuer) {
            return false;
        }
        self.change().issuers.insert(issuer.node.clone(), Arc::new(issuer.clone()));
        self.touch_trust();
        true
    }

    fn add_root(&mut self, key: KeyHash, certificate: &Bytes, cross: Option<&Bytes>) -> Result {
        validate::certificate(certificate)?;
        cross.map_or(Ok(()), |cross| validate::certificate(cross))?;
        if self.state.cluster.root(key).is_some() {
            return Ok(false);
        }
        if self.state.cluster.is_denied(key) {
            return Err(ClusterRefusal::DeniedKey(key).into());
        }
        if self.state.cluster.roots.len() >= MOST_ROOTS {
            return Err(ClusterRefusal::TooMany { what: "roots", most: MOST_ROOTS }.into());
        }
        let (certificate, cross) = (certificate.clone(), cross.cloned());
        let (since_ms, modify_index) = (self.envelope.time_ms, self.index);
        self.put_root(Root { key, certificate, cross, state: RootState::Next, since_ms, modify_index });
        Ok(true)
    }

    fn promote_root(&mut self, key: KeyHash) -> Result {
        let wanted = self.state.cluster.root(key).cloned().ok_or(ClusterRefusal::UnknownRoot(key))?;
        if wanted.state == RootState::Active {
            return Ok(false);
        }
        if let Some(active) = self.state.cluster.active_root().cloned() {
            self.move_root(&active, RootState::Retiring);
        }
        self.move_root(&wanted, RootState::Active);
        Ok(true)
    }

    fn move_root(&mut self, root: &Root, state: RootState) {
        let (since_ms, modify_index) = (self.envelope.time_ms, self.index);
        self.put_root(Root { state, since_ms, modify_index, ..root.clone() });
    }

    fn put_root(&mut self, root: Root) {
        self.change().roots.insert(root.key, Arc::new(root));
        self.touch_trust();
    }

    fn drop_root(&mut self, key: KeyHash) -> Result {
        match self.state.cluster.root(key).map(|root| root.state) {
            None => Ok(false),
            Some(RootState::Active) => Err(ClusterRefusal::RootInUse(key).into()),
            Some(RootState::Next | RootState::Retiring) => {
                self.change().roots.remove(&key);
                self.touch_trust();
                Ok(true)
            }
        }
    }

    pub(super) fn deny(&mut self, key: KeyHash, reason: &Arc<str>, delay_ms: u64) -> Result {
        validate::text("reason", reason)?;
        let denied = &self.state.cluster.denied;
        if denied.contains_key(&key) {
            return Ok(false);
        }
        if denied.len() >= MOST_DENIED {
            return Err(ClusterRefusal::TooMany { what: "denied keys", most: MOST_DENIED }.into());
        }
        if self.state.cluster.active_root().is_some_and(|root| root.key == key) {
            return Err(ClusterRefusal::RootInUse(key).into());
        }
        let denied = Denied { key, reason: reason.clone(), since_ms: self.envelope.time_ms, delay_ms };
        self.change().denied.insert(key, denied);
        self.touch_trust();
        Ok(true)
    }

    fn allow(&mut self, key: KeyHash) -> bool {
        let is_denied = self.state.cluster.is_denied(key);
        if is_denied {
            self.change().denied.remove(&key);
            self.touch_trust();
        }
        is_denied
    }

    fn set_mode(&mut self, mode: Mode) -> bool {
        let settings = Settings { mode, ..self.state.settings.clone() };
        self.configure(&settings).is_change()
    }
}
