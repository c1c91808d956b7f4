//! Names differ by case in the catalog, and queries do not: who has a name in lower case?

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

/// Names that are not all lower case, under what they are in lower case. Usually empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct MixedCase(OrdMap<Arc<str>, OrdSet<Arc<str>>>);

impl MixedCase {
    /// Remembers or forgets `name`.
    pub(crate) fn note(&mut self, name: &Arc<str>, exists: bool) {
        let lower = lower(name);
        if lower == *name {
            return;
        }
        let mut names = self.0.get(&lower).cloned().unwrap_or_default();
        match exists {
            true => names.insert(name.clone()),
            false => names.remove(name),
        };
        match names.is_empty() {
            true => self.0.remove(&lower),
            false => self.0.insert(lower, names),
        };
    }

    /// Every name that may be what `lower` stands for: itself, and those noted.
    pub(crate) fn candidates<'a>(&'a self, lower: &'a Arc<str>) -> impl Iterator<Item = &'a Arc<str>> {
        std::iter::once(lower).chain(self.0.get(lower).into_iter().flatten())
    }

    /// Every name noted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().flat_map(|(_, names)| names)
    }
}

/// `name` in lower case.
pub(crate) fn lower(name: &Arc<str>) -> Arc<str> {
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => name.to_ascii_lowercase().into(),
        false => name.clone(),
    }
}
