//! What the figures do not say by themselves, written by people: `testing/bench/notes.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// Notes by group.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Notes(BTreeMap<String, Vec<String>>);

impl Notes {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let path = root.join("testing/bench/notes.toml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("read {}", path.display()))
    }

    pub(super) fn of(&self, group: &str) -> &[String] {
        self.0.get(group).map_or(&[], Vec::as_slice)
    }
}
