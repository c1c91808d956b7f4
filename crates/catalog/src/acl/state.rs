//! Tokens, policies and roles, and the questions they answer.

use std::sync::{Arc, LazyLock};

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::acl::{
    ANONYMOUS, AclPolicy, AclRole, AclToken, DefaultPolicy, Links, MANAGEMENT, MANAGEMENT_NAME,
};
use crate::model::Index;
use crate::snapshot::Snapshot;
use crate::trust::KeyHash;

/// Where the three lists stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclIndexes {
    /// Tokens.
    pub tokens: Index,
    /// Policies.
    pub policies: Index,
    /// Roles.
    pub roles: Index,
    /// The default.
    #[serde(default)]
    pub default: Index,
    /// Index of the first token; 0 while there was none.
    #[serde(default)]
    pub bootstrapped: Index,
}

/// Tokens, policies and roles. One reference count in a snapshot: they change seldom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acl {
    pub(crate) tokens: OrdMap<Arc<str>, Arc<AclToken>>,
    pub(crate) by_secret: OrdMap<KeyHash, Arc<str>>,
    pub(crate) policies: OrdMap<Arc<str>, Arc<AclPolicy>>,
    pub(crate) policy_names: OrdMap<Arc<str>, Arc<str>>,
    pub(crate) roles: OrdMap<Arc<str>, Arc<AclRole>>,
    pub(crate) role_names: OrdMap<Arc<str>, Arc<str>>,
    pub(crate) default: DefaultPolicy,
    pub(crate) indexes: AclIndexes,
}

/// Hash that no text has: nobody can show that secret.
const NO_SECRET: KeyHash = KeyHash([0; 32]);

/// What is there before anybody changed it.
static BUILT_IN: LazyLock<(Arc<AclToken>, Arc<AclPolicy>)> = LazyLock::new(|| {
    let anonymous = AclToken {
        accessor: ANONYMOUS.into(),
        secret: NO_SECRET,
        description: "Anonymous Token".into(),
        links: Links::default(),
        local: false,
        expires_ms: None,
        created_ms: 0,
        create_index: 1,
        modify_index: 1,
    };
    let management = AclPolicy {
        id: MANAGEMENT.into(),
        name: MANAGEMENT_NAME.into(),
        description: "Builtin Policy that grants unlimited access".into(),
        rules: MANAGEMENT_RULES.into(),
        datacenters: Vec::new(),
        create_index: 1,
        modify_index: 1,
    };
    (Arc::new(anonymous), Arc::new(management))
});

/// Shown with that policy; what it allows is known without reading them.
const MANAGEMENT_RULES: &str = r#"acl = "write"
agent_prefix "" {
  policy = "write"
}
event_prefix "" {
  policy = "write"
}
key_prefix "" {
  policy = "write"
}
keyring = "write"
mesh = "write"
node_prefix "" {
  policy = "write"
}
operator = "write"
query_prefix "" {
  policy = "write"
}
service_prefix "" {
  policy = "write"
  intentions = "write"
}
session_prefix "" {
  policy = "write"
}
topic_prefix "" {
  policy = "write"
}
"#;

impl Acl {
    /// Every token, by accessor; some may have expired.
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<AclToken>> {
        let anonymous = (!self.tokens.contains_key(ANONYMOUS)).then(|| &BUILT_IN.0);
        anonymous.into_iter().chain(self.tokens.values())
    }

    /// A token by its accessor.
    pub fn token(&self, accessor: &str) -> Option<&Arc<AclToken>> {
        let built_in = || (accessor == ANONYMOUS).then(|| &BUILT_IN.0);
        self.tokens.get(accessor).or_else(built_in)
    }

    /// The token whose secret has this hash.
    pub fn token_of_secret(&self, secret: KeyHash) -> Option<&Arc<AclToken>> {
        self.tokens.get(self.by_secret.get(&secret)?)
    }

    /// Every policy, by id.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<AclPolicy>> {
        let management = (!self.policies.contains_key(MANAGEMENT)).then(|| &BUILT_IN.1);
        management.into_iter().chain(self.policies.values())
    }

    /// A policy by its id.
    pub fn policy(&self, id: &str) -> Option<&Arc<AclPolicy>> {
        let built_in = || (id == MANAGEMENT).then(|| &BUILT_IN.1);
        self.policies.get(id).or_else(built_in)
    }

    /// A policy by its name.
    pub fn policy_named(&self, name: &str) -> Option<&Arc<AclPolicy>> {
        match self.policy_names.get(name) {
            Some(id) => self.policies.get(id),
            None => self.policies().find(|policy| &*policy.id == MANAGEMENT && &*policy.name == name),
        }
    }

    /// Every role, by id.
    pub fn roles(&self) -> impl Iterator<Item = &Arc<AclRole>> {
        self.roles.values()
    }

    /// A role by its id.
    pub fn role(&self, id: &str) -> Option<&Arc<AclRole>> {
        self.roles.get(id)
    }

    /// A role by its name.
    pub fn role_named(&self, name: &str) -> Option<&Arc<AclRole>> {
        self.roles.get(self.role_names.get(name)?)
    }

    /// What holds where no rule says anything.
    pub fn default_policy(&self) -> DefaultPolicy {
        self.default
    }

    /// Where the lists stand.
    pub fn indexes(&self) -> AclIndexes {
        self.indexes
    }

    /// Moves with every change that may change what anybody may do.
    pub fn index(&self) -> Index {
        let AclIndexes { tokens, policies, roles, default, bootstrapped } = self.indexes;
        [tokens, policies, roles, default, bootstrapped].into_iter().max().unwrap_or(0)
    }

    /// As if all of it had come about at `index`: whatever was made of it before is made anew.
    pub(crate) fn stamp(&mut self, index: Index) {
        let bootstrapped = self.indexes.bootstrapped.min(index);
        self.indexes =
            AclIndexes { tokens: index, policies: index, roles: index, default: index, bootstrapped };
        let stamp = |create: &mut Index, modify: &mut Index| {
            (*create, *modify) = ((*create).min(index), index);
        };
        let all = |token: &Arc<AclToken>| {
            let mut token = (**token).clone();
            stamp(&mut token.create_index, &mut token.modify_index);
            token
        };
        for token in self.tokens.values().map(all).collect::<Vec<_>>() {
            self.insert_token(token);
        }
        for mut policy in self.policies.values().map(|policy| (**policy).clone()).collect::<Vec<_>>() {
            stamp(&mut policy.create_index, &mut policy.modify_index);
            self.insert_policy(policy);
        }
        for mut role in self.roles.values().map(|role| (**role).clone()).collect::<Vec<_>>() {
            stamp(&mut role.create_index, &mut role.modify_index);
            self.insert_role(role);
        }
    }

    pub(crate) fn insert_token(&mut self, token: AclToken) {
        self.by_secret.insert(token.secret, token.accessor.clone());
        self.tokens.insert(token.accessor.clone(), Arc::new(token));
    }

    pub(crate) fn remove_token(&mut self, accessor: &str) -> bool {
        let removed = self.tokens.remove(accessor);
        if let Some(token) = &removed {
            self.by_secret.remove(&token.secret);
        }
        removed.is_some()
    }

    pub(crate) fn insert_policy(&mut self, policy: AclPolicy) {
        if let Some(old) = self.policies.get(&policy.id) {
            self.policy_names.remove(&old.name);
        }
        self.policy_names.insert(policy.name.clone(), policy.id.clone());
        self.policies.insert(policy.id.clone(), Arc::new(policy));
    }

    pub(crate) fn insert_role(&mut self, role: AclRole) {
        if let Some(old) = self.roles.get(&role.id) {
            self.role_names.remove(&old.name);
        }
        self.role_names.insert(role.name.clone(), role.id.clone());
        self.roles.insert(role.id.clone(), Arc::new(role));
    }
}

impl Snapshot {
    /// Tokens, policies and roles.
    pub fn acl(&self) -> &Arc<Acl> {
        &self.acl
    }

    /// Moves with every change that may change what anybody may do: the lists, the operators, the mode.
    pub fn acl_index(&self) -> Index {
        self.acl.index().max(self.cluster.trust_index)
    }
}
