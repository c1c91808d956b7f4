//! Who a secret belongs to, for faces that let remote clients in.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use broker::gateway::Credentials;
use catalog::AclToken;
use catalog::acl::ANONYMOUS;
use route::Principal;
use state::Reader;
use store::View;

/// Tokens of the cluster. The secret says it all, whatever the user's name is.
pub(crate) struct Holders {
    views: Reader<View>,
    domain: Arc<str>,
}

impl Holders {
    pub(crate) fn new(views: Reader<View>, domain: Arc<str>) -> Holders {
        Holders { views, domain }
    }

    /// A token of one service speaks as that service, one of a node as that node; any other has a name of its own.
    fn name(&self, token: &AclToken) -> Arc<str> {
        let domain = &self.domain;
        match (&token.links.services[..], &token.links.nodes[..]) {
            ([one], []) => format!("spiffe://{domain}/service/{}", one.service).into(),
            ([], [one]) => format!("spiffe://{domain}/node/{}", one.node).into(),
            _ => format!("token/{}", token.accessor).into(),
        }
    }
}

impl Credentials for Holders {
    fn holder(&self, _user: &str, secret: &str) -> Option<Principal> {
        let now = self.views.now();
        // Looked up by its hash: how long that takes says nothing of any token.
        let hash = acl::hash(secret);
        if let Some(token) = now.acl().token_of_secret(hash) {
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let is_good = !token.is_expired(u64::try_from(time).unwrap_or(u64::MAX));
            let is_good = is_good && *token.accessor != *ANONYMOUS;
            return is_good.then(|| Principal::Identity { id: self.name(token) });
        }
        now.cluster().operator(hash).map(|_| Principal::Identity { id: "token/operator".into() })
    }
}
