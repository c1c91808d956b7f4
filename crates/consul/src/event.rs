//! Events.

use serde::{Deserialize, Serialize};

use crate::Text;
use crate::kv::Value;

/// An event, as `event/fire` answers and `event/list` lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UserEvent {
    /// UUID.
    #[serde(rename = "ID")]
    pub id: Text,
    /// Name.
    pub name: Text,
    /// What it carries.
    pub payload: Value,
    /// Regular expression for names of nodes.
    pub node_filter: Text,
    /// Regular expression for names of services.
    pub service_filter: Text,
    /// Regular expression for tags.
    pub tag_filter: Text,
    /// Always 1.
    pub version: u64,
    /// Its place among events; 0 in the answer to whoever fired it.
    #[serde(rename = "LTime")]
    pub l_time: u64,
}
