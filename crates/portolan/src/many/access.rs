//! Who may change something, as the catalog says.

use store::Store;

/// The rules of the cluster that this node belongs to; a node that belongs to none is open.
pub(crate) struct Rules(pub(crate) Store);

impl api::Access for Rules {
    fn mode(&self) -> api::Mode {
        match self.0.now().mode() {
            catalog::Mode::Open => api::Mode::Open,
            catalog::Mode::Observe => api::Mode::Observe,
            catalog::Mode::Enforce => api::Mode::Enforce,
        }
    }

    fn is_operator(&self, token: &str) -> bool {
        // Looked up by its hash: how long that takes says nothing of any token.
        self.0.now().cluster().operator(cluster::token::operator_hash(token)).is_some()
    }
}
