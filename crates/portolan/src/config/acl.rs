//! `[acl]`: how a registry of one host begins to ask who is speaking.

use std::path::PathBuf;

use catalog::acl::DefaultPolicy;
use serde::{Deserialize, Serialize};

/// `[acl]`. A cluster asks from its beginning, and what its default is, is agreed on by its members: there these
/// keys count for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Acl {
    /// Ask everybody for a token.
    pub enabled: bool,
    /// What holds where no rule says anything.
    pub default_policy: DefaultPolicy,
    /// File whose first line is the secret of a token that may do everything: it is made where it is not there.
    pub initial_management_file: Option<PathBuf>,
    /// The same secret, from whoever composes the daemon: no key of its own, since settings are shown.
    #[serde(skip)]
    pub initial_management: Option<String>,
}
