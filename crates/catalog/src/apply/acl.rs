//! Tokens, policies and roles come, change and go.

use std::sync::Arc;

use crate::acl::{
    ANONYMOUS, Acl, AclCommand, AclPolicy, AclRefusal, AclRole, AclToken, DefaultPolicy, Links, MANAGEMENT,
    MAX_LINKS, MAX_POLICIES, MAX_RULES, MAX_TOKENS,
};
use crate::apply::{Topic, Turn};
use crate::command::{Outcome, Refusal};
use crate::model::Index;
use crate::validate::{self, Invalid};

type Result<T = bool> = std::result::Result<T, Refusal>;

impl Turn<'_> {
    pub(super) fn acl(&mut self, command: &AclCommand) -> Outcome {
        self.forget_expired_tokens();
        let result = match command {
            AclCommand::Bootstrap { token, reset } => self.bootstrap(token, *reset),
            AclCommand::PutToken { token, is_new } => self.put_token(token, *is_new),
            AclCommand::DeleteToken { accessor } => self.delete_token(accessor),
            AclCommand::PutPolicy { policy, is_new } => self.put_policy(policy, *is_new),
            AclCommand::DeletePolicy { id } => self.delete_policy(id),
            AclCommand::PutRole { role, is_new } => self.put_role(role, *is_new),
            AclCommand::DeleteRole { id } => Ok(self.delete_role(id)),
            AclCommand::SetDefault(policy) => Ok(self.set_default(*policy)),
        };
        match result {
            Ok(changed) => Outcome::Done { changed },
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    fn acl_mut(&mut self) -> &mut Acl {
        self.touched.insert(Topic::Acl);
        Arc::make_mut(&mut self.state.acl)
    }

    /// Judged by the time in the agreed order, whenever somebody touches the lists: nobody can use them anyway.
    fn forget_expired_tokens(&mut self) {
        let now_ms = self.state.time_ms;
        let acl = &self.state.acl;
        let gone: Vec<_> = acl.tokens.values().filter(|token| token.is_expired(now_ms)).cloned().collect();
        if !gone.is_empty() {
            let index = self.index;
            let acl = self.acl_mut();
            for token in &gone {
                acl.remove_token(&token.accessor);
            }
            acl.indexes.tokens = index;
        }
    }

    fn bootstrap(&mut self, token: &AclToken, reset: Option<Index>) -> Result {
        let before = self.bootstrapped();
        match (before, reset) {
            (0, _) => {}
            (reset, None) => return Err(AclRefusal::Bootstrapped { reset }.into()),
            (reset, Some(given)) if given != reset => {
                return Err(AclRefusal::WrongReset { given, reset }.into());
            }
            _ => {}
        }
        let links = Links { policies: vec![MANAGEMENT.into()], ..Links::default() };
        self.put_token(&AclToken { links, expires_ms: None, ..token.clone() }, true)?;
        let index = self.index;
        self.acl_mut().indexes.bootstrapped = index;
        Ok(true)
    }

    /// Index at which there first was somebody who may do everything, also by `init`.
    fn bootstrapped(&self) -> Index {
        match self.state.cluster.operators.is_empty() {
            true => self.state.acl.indexes.bootstrapped,
            false => self.state.acl.indexes.bootstrapped.max(1),
        }
    }

    fn put_token(&mut self, token: &AclToken, is_new: bool) -> Result {
        validate::id("AccessorID", &token.accessor)?;
        validate::text("Description", &token.description)?;
        let acl = &self.state.acl;
        self.check_links(&token.links)?;
        let known = acl.token(&token.accessor).cloned();
        match (&known, is_new) {
            (Some(_), true) => return Err(AclRefusal::TokenTaken("AccessorID").into()),
            (None, false) => return Err(AclRefusal::UnknownToken(token.accessor.clone()).into()),
            (Some(known), false) => check_fixed(known, token)?,
            (None, true) if acl.by_secret.contains_key(&token.secret) => {
                return Err(AclRefusal::TokenTaken("SecretID").into());
            }
            (None, true) if self.state.cluster.operators.contains_key(&token.secret) => {
                return Err(AclRefusal::TokenTaken("SecretID").into());
            }
            (None, true) if acl.tokens.len() >= MAX_TOKENS => {
                return Err(AclRefusal::TooMany { what: "tokens", most: MAX_TOKENS }.into());
            }
            (None, true) => {}
        }
        let mut token = token.clone();
        token.created_ms = known.as_ref().map_or(self.envelope.time_ms, |known| known.created_ms);
        token.create_index = known.as_ref().map_or(self.index, |known| known.create_index);
        token.modify_index = known.as_ref().map_or(self.index, |known| known.modify_index);
        if known.as_deref() == Some(&token) {
            return Ok(false);
        }
        token.modify_index = self.index;
        let index = self.index;
        let acl = self.acl_mut();
        acl.insert_token(token);
        acl.indexes.tokens = index;
        Ok(true)
    }

    fn check_links(&self, links: &Links) -> Result<()> {
        let acl = &self.state.acl;
        for (what, count) in [
            ("policies", links.policies.len()),
            ("roles", links.roles.len()),
            ("service identities", links.services.len()),
            ("node identities", links.nodes.len()),
        ] {
            if count > MAX_LINKS {
                return Err(AclRefusal::TooMany { what, most: MAX_LINKS }.into());
            }
        }
        if let Some(id) = links.policies.iter().find(|id| acl.policy(id).is_none()) {
            return Err(AclRefusal::NoSuchLink { what: "policy", id: id.clone() }.into());
        }
        if let Some(id) = links.roles.iter().find(|id| acl.role(id).is_none()) {
            return Err(AclRefusal::NoSuchLink { what: "role", id: id.clone() }.into());
        }
        let services = links.services.iter().flat_map(|s| s.datacenters.iter().chain([&s.service]));
        let nodes = links.nodes.iter().flat_map(|n| [&n.node, &n.datacenter]);
        services.chain(nodes).try_for_each(|name| validate::id("identity", name))?;
        Ok(())
    }

    fn delete_token(&mut self, accessor: &Arc<str>) -> Result {
        if &**accessor == ANONYMOUS {
            let why = "Delete operation not permitted on the anonymous token";
            return Err(AclRefusal::Fixed(why.to_owned()).into());
        }
        if !self.state.acl.tokens.contains_key(accessor) {
            return Ok(false);
        }
        let index = self.index;
        let acl = self.acl_mut();
        acl.remove_token(accessor);
        acl.indexes.tokens = index;
        Ok(true)
    }

    fn put_policy(&mut self, policy: &AclPolicy, is_new: bool) -> Result {
        check_named(&policy.id, &policy.name, &policy.description)?;
        if policy.rules.len() > MAX_RULES {
            let rule = format!("its rules are longer than {MAX_RULES} bytes");
            return Err(Invalid::new("policy", &policy.name, rule).into());
        }
        if policy.datacenters.len() > MAX_LINKS {
            return Err(AclRefusal::TooMany { what: "datacenters", most: MAX_LINKS }.into());
        }
        let acl = &self.state.acl;
        let known = acl.policy(&policy.id).cloned();
        if known.is_some() == is_new {
            return Err(AclRefusal::UnknownPolicy(policy.id.clone()).into());
        }
        if acl.policy_named(&policy.name).is_some_and(|other| other.id != policy.id) {
            return Err(AclRefusal::NameTaken { what: "Policy", name: policy.name.clone() }.into());
        }
        if let Some(known) = known.as_ref().filter(|known| &*known.id == MANAGEMENT) {
            check_management(known, policy)?;
        }
        if is_new && acl.policies.len() >= MAX_POLICIES {
            return Err(AclRefusal::TooMany { what: "policies", most: MAX_POLICIES }.into());
        }
        let mut policy = policy.clone();
        policy.create_index = known.as_ref().map_or(self.index, |known| known.create_index);
        policy.modify_index = known.as_ref().map_or(self.index, |known| known.modify_index);
        if known.as_deref() == Some(&policy) {
            return Ok(false);
        }
        policy.modify_index = self.index;
        let index = self.index;
        let acl = self.acl_mut();
        acl.insert_policy(policy);
        acl.indexes.policies = index;
        Ok(true)
    }

    fn delete_policy(&mut self, id: &Arc<str>) -> Result {
        if &**id == MANAGEMENT {
            let why = "Delete operation not permitted on the builtin global-management policy";
            return Err(AclRefusal::Fixed(why.to_owned()).into());
        }
        let Some(policy) = self.state.acl.policies.get(id).cloned() else { return Ok(false) };
        let index = self.index;
        let acl = self.acl_mut();
        acl.policies.remove(id);
        acl.policy_names.remove(&policy.name);
        acl.indexes.policies = index;
        unlink(acl, index, |links| remove_from(&mut links.policies, id));
        Ok(true)
    }

    fn put_role(&mut self, role: &AclRole, is_new: bool) -> Result {
        check_named(&role.id, &role.name, &role.description)?;
        self.check_links(&role.links)?;
        let acl = &self.state.acl;
        let known = acl.role(&role.id).cloned();
        if known.is_some() == is_new {
            return Err(AclRefusal::UnknownRole(role.id.clone()).into());
        }
        if acl.role_named(&role.name).is_some_and(|other| other.id != role.id) {
            return Err(AclRefusal::NameTaken { what: "Role", name: role.name.clone() }.into());
        }
        if is_new && acl.roles.len() >= MAX_POLICIES {
            return Err(AclRefusal::TooMany { what: "roles", most: MAX_POLICIES }.into());
        }
        let mut role = role.clone();
        role.create_index = known.as_ref().map_or(self.index, |known| known.create_index);
        role.modify_index = known.as_ref().map_or(self.index, |known| known.modify_index);
        if known.as_deref() == Some(&role) {
            return Ok(false);
        }
        role.modify_index = self.index;
        let index = self.index;
        let acl = self.acl_mut();
        acl.insert_role(role);
        acl.indexes.roles = index;
        Ok(true)
    }

    fn delete_role(&mut self, id: &Arc<str>) -> bool {
        let Some(role) = self.state.acl.roles.get(id).cloned() else { return false };
        let index = self.index;
        let acl = self.acl_mut();
        acl.roles.remove(id);
        acl.role_names.remove(&role.name);
        acl.indexes.roles = index;
        unlink(acl, index, |links| remove_from(&mut links.roles, id));
        true
    }

    fn set_default(&mut self, policy: DefaultPolicy) -> bool {
        let changed = self.state.acl.default != policy;
        if changed {
            let index = self.index;
            let acl = self.acl_mut();
            acl.default = policy;
            acl.indexes.default = index;
        }
        changed
    }
}

/// What of a token does not change in its life.
fn check_fixed(known: &AclToken, wished: &AclToken) -> Result<()> {
    let why = if known.secret != wished.secret {
        "Changing a tokens SecretID is not permitted".to_owned()
    } else if known.local != wished.local {
        format!("cannot toggle local mode of {}", known.accessor)
    } else if known.expires_ms != wished.expires_ms {
        "Cannot change expiration time".to_owned()
    } else {
        return Ok(());
    };
    Err(AclRefusal::Fixed(why).into())
}

fn check_management(known: &AclPolicy, wished: &AclPolicy) -> Result<()> {
    let what = if known.rules != wished.rules {
        "Rules"
    } else if known.datacenters != wished.datacenters {
        "Datacenters"
    } else {
        return Ok(());
    };
    let why = format!("Changing the {what} for the builtin global-management policy is not permitted");
    Err(AclRefusal::Fixed(why).into())
}

fn check_named(id: &str, name: &str, description: &str) -> Result<()> {
    validate::id("ID", id)?;
    validate::id("Name", name)?;
    validate::text("Description", description)?;
    Ok(())
}

fn remove_from(list: &mut Vec<Arc<str>>, id: &Arc<str>) -> bool {
    let before = list.len();
    list.retain(|other| other != id);
    list.len() != before
}

/// Takes a link away wherever it is. Nobody but who had it changes.
fn unlink(acl: &mut Acl, index: Index, remove: impl Fn(&mut Links) -> bool) {
    let tokens: Vec<_> = acl.tokens.values().cloned().collect();
    for token in tokens {
        let mut changed = (*token).clone();
        if remove(&mut changed.links) {
            changed.modify_index = index;
            acl.insert_token(changed);
            acl.indexes.tokens = index;
        }
    }
    let roles: Vec<_> = acl.roles.values().cloned().collect();
    for role in roles {
        let mut changed = (*role).clone();
        if remove(&mut changed.links) {
            changed.modify_index = index;
            acl.insert_role(changed);
            acl.indexes.roles = index;
        }
    }
}
