//! Which versions understand which commands.
//!
//! A command that a node does not know stops it, so nobody proposes one before every member knows it. Each kind has
//! the level at which it came; a member announces the highest that it understands ([`FEATURES`]), and the lowest of the
//! members' counts. A node that understands less than what the state already rests on is not let in.

use std::sync::Arc;

use crate::command::Command;
use crate::members::Member;
use crate::model::{CheckDef, InstanceDef, Kind};
use crate::snapshot::Snapshot;
use crate::transaction::Operation;

/// Level of commands that this version understands.
pub const FEATURES: u32 = 7;

/// The first version's commands.
const FIRST: u32 = 1;
const RULES: u32 = 2;
const EXPOSURES: u32 = 3;
const QUERIES: u32 = 4;
const TOKENS: u32 = 5;
/// [`Kind::Native`].
const NATIVE: u32 = 6;
/// What is carried for clients: where an instance is, what an external check asks.
const CARRIED: u32 = 7;

impl Command {
    /// Level from which a node understands it. A new kind of command, or of what is in one, gets the next level, and
    /// [`FEATURES`] grows with it.
    pub fn level(&self) -> u32 {
        match self {
            Command::Register(register) => {
                let instance = register.instance.iter().map(|one| of_instance(&one.def));
                let checks = register.checks.iter().map(|check| of_check(&check.def));
                instance.chain(checks).max().unwrap_or(FIRST)
            }
            Command::Transact(operations) => operations.iter().map(of_operation).max().unwrap_or(FIRST),
            Command::Deregister(_)
            | Command::SetStatus { .. }
            | Command::Kv(_)
            | Command::Session(_)
            | Command::Topic(_)
            | Command::AvoidVirtualIp { .. }
            | Command::Configure(_)
            | Command::Cluster(_) => FIRST,
            Command::Intention(_) | Command::Redirection(_) => RULES,
            Command::Expose(_) => EXPOSURES,
            Command::Query(_) | Command::Restore(_) => QUERIES,
            Command::Acl(_) => TOKENS,
            Command::Batch(commands) => commands.iter().map(Command::level).max().unwrap_or(FIRST),
        }
    }
}

fn of_instance(def: &InstanceDef) -> u32 {
    match (&def.locality, def.kind) {
        (Some(_), _) => CARRIED,
        (None, Kind::Native) => NATIVE,
        _ => FIRST,
    }
}

fn of_check(def: &CheckDef) -> u32 {
    if def.definition.is_some() { CARRIED } else { FIRST }
}

fn of_operation(operation: &Operation) -> u32 {
    match operation {
        Operation::Instance { def, .. } => of_instance(def),
        Operation::Check { check, .. } => of_check(&check.def),
        Operation::Kv(_) | Operation::Node { .. } => FIRST,
    }
}

impl Snapshot {
    /// Level that a node must understand to read this state and the commands that led to it.
    pub fn level(&self) -> u32 {
        let touched = [
            (self.acl.index() > 0, TOKENS),
            (self.tables.queries > 0 || self.staged.is_some(), QUERIES),
            (self.tables.exposures > 0, EXPOSURES),
            (self.rules.index() > 0, RULES),
        ];
        let of_tables =
            touched.into_iter().find(|(is_touched, _)| *is_touched).map_or(FIRST, |(_, level)| level);
        let instances = self.services().flat_map(|service| service.iter()).map(|one| of_instance(&one.def));
        let checks = self.nodes().flat_map(|node| node.all_checks()).map(|check| of_check(&check.def));
        instances.chain(checks).max().unwrap_or(FIRST).max(of_tables)
    }

    /// The member because of which a command must not be proposed yet: the one that understands least.
    pub fn too_old_for(&self, command: &Command) -> Option<&Arc<Member>> {
        let level = command.level();
        if level <= FIRST {
            return None;
        }
        self.cluster().members().filter(|member| member.features < level).min_by_key(|member| member.features)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::{Candidate, ClusterCommand, ClusterRefusal, Role};
    use crate::query::QueryCommand;
    use crate::trust::KeyHash;
    use crate::{Catalog, Envelope, Outcome, Refusal};

    fn apply(catalog: &mut Catalog, command: Command) -> Outcome {
        let index = catalog.snapshot().index() + 1;
        let envelope = Envelope { node: "a".into(), epoch: 1, sequence: index, time_ms: 1, command };
        catalog.apply(index, &envelope).outcome
    }

    fn candidate(name: &str, number: u8, role: Role, features: u32) -> Candidate {
        let addresses = vec!["10.0.0.1:8300".into()];
        Candidate { name: name.into(), role, disk: 7, addresses, key: KeyHash([number; 32]), features }
    }

    fn founded() -> Catalog {
        let mut catalog = Catalog::default();
        let (key, certificate) = (KeyHash([9; 32]), bytes::Bytes::from_static(b"c"));
        let issuer = crate::Issuer { node: "a".into(), key, root: key, certificate: certificate.clone() };
        let founding = crate::Founding {
            cluster: "c".into(),
            founder: candidate("a", 1, Role::Server, FEATURES),
            root: (key, certificate),
            issuer,
            operator: KeyHash([8; 32]),
        };
        let outcome = apply(&mut catalog, Command::Cluster(ClusterCommand::Found(Box::new(founding))));
        assert!(outcome.is_change(), "{outcome:?}");
        let secret = ClusterCommand::CreateJoinSecret {
            hash: KeyHash([7; 32]),
            uses: 5,
            expires_ms: 100,
            role: Role::Agent,
        };
        assert!(apply(&mut catalog, Command::Cluster(secret)).is_change());
        catalog
    }

    fn admit(catalog: &mut Catalog, candidate: Candidate) -> Outcome {
        let admit = ClusterCommand::Admit { secret: KeyHash([7; 32]), candidate, issuer: None };
        apply(catalog, Command::Cluster(admit))
    }

    fn query() -> Command {
        Command::Query(QueryCommand::Delete { id: "q".into() })
    }

    #[test]
    fn the_member_that_understands_least_is_named() {
        let mut catalog = founded();
        assert_eq!(catalog.snapshot().too_old_for(&query()), None);
        assert!(admit(&mut catalog, candidate("older", 2, Role::Agent, QUERIES)).is_change());
        assert!(admit(&mut catalog, candidate("oldest", 3, Role::Agent, RULES)).is_change());
        let snapshot = catalog.snapshot();
        let named = |command: &Command| snapshot.too_old_for(command).map(|member| member.name.clone());
        assert_eq!(named(&query()).as_deref(), Some("oldest"));
        assert_eq!(named(&Command::Batch(vec![query()])).as_deref(), Some("oldest"));
        assert_eq!(named(&Command::Batch(vec![])), None);
        assert_eq!(named(&native()).as_deref(), Some("oldest"));
        assert_eq!(located().level(), CARRIED);
        assert_eq!(named(&Command::Register(Box::default())), None);
    }

    fn native() -> Command {
        let def = InstanceDef { kind: Kind::Native, ..InstanceDef::new("w".into(), "web".into(), 80) };
        let instance = Some(crate::InstanceRegistration { def, replace_checks: false });
        Command::Register(Box::new(crate::Register { on: "a".into(), instance, ..Default::default() }))
    }

    fn located() -> Command {
        let Command::Register(mut register) = native() else { unreachable!("it registers") };
        register.instance.as_mut().unwrap().def.locality = Some(Box::default());
        Command::Register(register)
    }

    #[test]
    fn who_cannot_read_the_state_is_not_let_in() {
        let mut catalog = founded();
        let rules = crate::IntentionCommand::Remove { id: "none".into(), cas: None };
        apply(&mut catalog, Command::Intention(rules));
        let before = catalog.snapshot().level();
        let mut state = catalog.snapshot();
        state.tables.queries = state.index();
        let mut catalog = Catalog::from_snapshot(state);
        assert!(before < QUERIES && catalog.snapshot().level() == QUERIES);
        let refused = admit(&mut catalog, candidate("old", 2, Role::Agent, RULES));
        let why = ClusterRefusal::TooOld { name: "old".into(), has: RULES, needs: QUERIES };
        assert_eq!(refused, Outcome::Refused(Refusal::Cluster(why)));
        assert!(admit(&mut catalog, candidate("new", 2, Role::Agent, FEATURES)).is_change());
        let back = ClusterCommand::UpdateMember {
            name: "new".into(),
            addresses: vec!["10.0.0.1:8300".into()],
            features: FIRST,
        };
        assert!(matches!(apply(&mut catalog, Command::Cluster(back)), Outcome::Refused(_)));
    }
}
