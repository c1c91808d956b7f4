//! Who belongs to the cluster, and how others get in.

use std::sync::Arc;

use crate::apply::{Topic, Turn};
use crate::cluster::Cluster;
use crate::command::{Deregister, Outcome, Refusal};
use crate::members::{
    Candidate, ClusterCommand, ClusterRefusal, Founding, JoinSecret, Member, Operator, Role,
};
use crate::model::Settings;
use crate::trust::{Issuer, KeyHash, Mode, Root, RootState};
use crate::validate;

/// Most members, join secrets and operators: each is far above what makes sense.
const MOST_MEMBERS: usize = 100_000;
const MOST_SECRETS: usize = 1_000;
const MOST_OPERATORS: usize = 1_000;
/// How long what a removed server had signed is still let be.
const ISSUER_DELAY_MS: u64 = 2 * 60 * 1000;

type Result = std::result::Result<bool, Refusal>;

impl Turn<'_> {
    pub(super) fn cluster(&mut self, command: &ClusterCommand) -> Outcome {
        let result = match command {
            ClusterCommand::Found(founding) => self.found(founding),
            ClusterCommand::NodeDown { node, epoch } => self.node_down(node, *epoch),
            ClusterCommand::NodeUp { node, epoch } => self.node_up(node, *epoch),
            ClusterCommand::Claim { node, id } => self.claim(node, id),
            _ if self.state.cluster.id.is_empty() => Err(ClusterRefusal::NotFounded.into()),
            ClusterCommand::CreateJoinSecret { hash, uses, expires_ms, role } => {
                self.create_join_secret(*hash, *uses, *expires_ms, *role)
            }
            ClusterCommand::RevokeJoinSecret { hash } => Ok(self.change().secrets.remove(hash).is_some()),
            ClusterCommand::Admit { secret, candidate, issuer } => {
                self.admit(*secret, candidate, issuer.as_ref())
            }
            ClusterCommand::UpdateMember { name, addresses, features } => {
                self.update_member(name, addresses, *features)
            }
            ClusterCommand::RemoveMember { name } => self.remove_member(name),
            ClusterCommand::AddOperator { hash, name } => self.add_operator(*hash, name),
            ClusterCommand::RemoveOperator { hash } => self.remove_operator(*hash),
            trust => self.trust(trust),
        };
        match result {
            Ok(changed) => Outcome::Done { changed },
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    pub(super) fn change(&mut self) -> &mut Cluster {
        Arc::make_mut(&mut self.state.cluster)
    }

    fn found(&mut self, founding: &Founding) -> Result {
        let known = self.state.cluster.id.clone();
        if known == founding.cluster {
            return Ok(false);
        }
        if !known.is_empty() {
            return Err(ClusterRefusal::AlreadyFounded(known).into());
        }
        validate::label("cluster id", &founding.cluster)?;
        validate::candidate(&founding.founder)?;
        let (key, certificate) = &founding.root;
        validate::certificate(certificate)?;
        validate::certificate(&founding.issuer.certificate)?;
        self.change().id = founding.cluster.clone();
        let (since_ms, modify_index) = (self.envelope.time_ms, self.index);
        let (certificate, state) = (certificate.clone(), RootState::Active);
        let root = Root { key: *key, certificate, cross: None, state, since_ms, modify_index };
        self.change().roots.insert(*key, Arc::new(root));
        self.put_issuer(&founding.issuer);
        self.put_member(&Candidate { role: Role::Server, ..founding.founder.clone() });
        self.add_operator(founding.operator, &"init".into())?;
        let settings = Settings { mode: Mode::Enforce, ..self.state.settings.clone() };
        self.configure(&settings);
        self.touch_trust();
        Ok(true)
    }

    fn create_join_secret(&mut self, hash: KeyHash, uses: u32, expires_ms: u64, role: Role) -> Result {
        let now_ms = self.envelope.time_ms;
        let known = self.state.cluster.secrets.get(&hash);
        if known.is_some_and(|known| known.expires_ms == expires_ms && known.role == role) {
            return Ok(false);
        }
        let living = self.state.cluster.secrets.iter().filter(|(_, secret)| secret.expires_ms > now_ms);
        let living: imbl::OrdMap<_, _> = living.map(|(hash, secret)| (*hash, secret.clone())).collect();
        if living.len() >= MOST_SECRETS {
            return Err(ClusterRefusal::TooMany { what: "join tokens", most: MOST_SECRETS }.into());
        }
        let secret = JoinSecret { hash, uses_left: uses.max(1), expires_ms, role, created_ms: now_ms };
        self.change().secrets = living.update(hash, secret);
        Ok(true)
    }

    /// A retry of one who is in already uses nothing up: name and key prove that it is the same.
    fn admit(&mut self, secret: KeyHash, candidate: &Candidate, issuer: Option<&Issuer>) -> Result {
        validate::candidate(candidate)?;
        self.understands(&candidate.name, candidate.features)?;
        let cluster = &self.state.cluster;
        if cluster.is_denied(candidate.key) {
            return Err(ClusterRefusal::DeniedKey(candidate.key).into());
        }
        match cluster.member(&candidate.name) {
            Some(member) if member.key == candidate.key => return self.readmit(candidate, issuer),
            Some(member) => return Err(ClusterRefusal::NameTaken(member.name.clone()).into()),
            None => {}
        }
        if let Some(other) = cluster.member_of_key(candidate.key) {
            return Err(ClusterRefusal::KeyTaken(other.name.clone()).into());
        }
        if cluster.members.len() >= MOST_MEMBERS {
            return Err(ClusterRefusal::TooMany { what: "members", most: MOST_MEMBERS }.into());
        }
        self.may_use(secret, candidate.role)?;
        self.may_sign(candidate, issuer)?;
        if let Some(known) = self.change().secrets.get_mut(&secret) {
            known.uses_left -= 1;
        }
        self.put_member(candidate);
        if let Some(issuer) = issuer {
            self.put_issuer(issuer);
        }
        Ok(true)
    }

    fn readmit(&mut self, candidate: &Candidate, issuer: Option<&Issuer>) -> Result {
        let role = self.state.cluster.member(&candidate.name).map(|member| member.role);
        if role == Some(Role::Server)
            && let Some(issuer) = issuer
        {
            self.put_issuer(issuer);
        }
        self.update_member(&candidate.name, &candidate.addresses, candidate.features)
    }

    fn may_use(&self, secret: KeyHash, role: Role) -> std::result::Result<(), ClusterRefusal> {
        let known = self.state.cluster.secrets.get(&secret).ok_or(ClusterRefusal::UnknownSecret)?;
        if self.envelope.time_ms > known.expires_ms {
            return Err(ClusterRefusal::ExpiredSecret);
        }
        if known.uses_left == 0 {
            return Err(ClusterRefusal::SpentSecret);
        }
        if (role, known.role) == (Role::Server, Role::Agent) {
            return Err(ClusterRefusal::AgentsOnly);
        }
        Ok(())
    }

    fn may_sign(&self, candidate: &Candidate, issuer: Option<&Issuer>) -> std::result::Result<(), Refusal> {
        match (candidate.role, issuer) {
            (Role::Agent, None) => Ok(()),
            (Role::Server, Some(issuer)) if issuer.node == candidate.name => self.may_issue(issuer),
            _ => Err(ClusterRefusal::NoIssuer.into()),
        }
    }

    /// A command that it does not know would stop it.
    fn understands(&self, name: &Arc<str>, has: u32) -> std::result::Result<(), ClusterRefusal> {
        let needs = self.state.level();
        if has < needs {
            return Err(ClusterRefusal::TooOld { name: name.clone(), has, needs });
        }
        Ok(())
    }

    fn put_member(&mut self, candidate: &Candidate) {
        let (index, joined_ms) = (self.index, self.envelope.time_ms);
        let cluster = self.change();
        let server_id = match candidate.role {
            Role::Server => cluster.last_server + 1,
            Role::Agent => 0,
        };
        cluster.last_server = cluster.last_server.max(server_id);
        let member = Member {
            name: candidate.name.clone(),
            role: candidate.role,
            server_id,
            disk: candidate.disk,
            addresses: candidate.addresses.clone(),
            key: candidate.key,
            features: candidate.features,
            joined_ms,
            create_index: index,
            modify_index: index,
        };
        cluster.members.insert(member.name.clone(), Arc::new(member));
        self.touch_members();
    }

    fn update_member(&mut self, name: &Arc<str>, addresses: &[Arc<str>], features: u32) -> Result {
        validate::mesh_addresses(addresses)?;
        let known = self.state.cluster.member(name).ok_or(ClusterRefusal::UnknownMember(name.clone()))?;
        if known.addresses == addresses && known.features == features {
            return Ok(false);
        }
        self.understands(name, features)?;
        let (addresses, modify_index) = (addresses.to_vec(), self.index);
        let member = Member { addresses, features, modify_index, ..(**known).clone() };
        self.change().members.insert(member.name.clone(), Arc::new(member));
        self.touch_members();
        Ok(true)
    }

    fn remove_member(&mut self, name: &Arc<str>) -> Result {
        let cluster = &self.state.cluster;
        let Some(member) = cluster.member(name).cloned() else { return Ok(false) };
        let servers = cluster.members().filter(|member| member.role == Role::Server).count();
        if member.role == Role::Server && servers == 1 {
            return Err(ClusterRefusal::LastServer(name.clone()).into());
        }
        let issuer = cluster.issuer(name).map(|issuer| issuer.key);
        let reason = format!("{name} was removed").into();
        self.deny(member.key, &reason, 0)?;
        if let Some(issuer) = issuer {
            self.deny(issuer, &reason, ISSUER_DELAY_MS)?;
        }
        let cluster = self.change();
        cluster.members.remove(name);
        cluster.issuers.remove(name);
        self.touch_members();
        self.deregister(&Deregister::Node { node: name.clone() });
        Ok(true)
    }

    fn add_operator(&mut self, hash: KeyHash, name: &Arc<str>) -> Result {
        validate::id("operator", name)?;
        if self.state.cluster.operators.contains_key(&hash) {
            return Ok(false);
        }
        if self.state.cluster.operators.len() >= MOST_OPERATORS {
            return Err(ClusterRefusal::TooMany { what: "operators", most: MOST_OPERATORS }.into());
        }
        let operator = Operator { hash, name: name.clone(), created_ms: self.envelope.time_ms };
        self.change().operators.insert(hash, operator);
        self.touch_trust();
        Ok(true)
    }

    fn remove_operator(&mut self, hash: KeyHash) -> Result {
        let is_known = self.state.cluster.operators.contains_key(&hash);
        if is_known {
            self.change().operators.remove(&hash);
            self.touch_trust();
        }
        Ok(is_known)
    }

    fn touch_members(&mut self) {
        self.change().members_index = self.index;
        self.touched.insert(Topic::Members);
    }

    pub(super) fn touch_trust(&mut self) {
        self.change().trust_index = self.index;
        self.touched.insert(Topic::Trust);
    }
}
