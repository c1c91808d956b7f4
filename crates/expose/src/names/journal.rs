//! Which names are ours, on the disk before they are shown: a run that is killed leaves none behind that the next one
//! does not know of.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Key;
use crate::disk;
use crate::wish::NameKind;

/// Names that were shown, or were about to be.
#[derive(Debug, Default)]
pub(super) struct Journal {
    path: Option<PathBuf>,
    names: BTreeSet<Key>,
}

impl Journal {
    /// Reads it; an empty one where there is none, and one that forgets without a path.
    pub(super) fn open(path: Option<PathBuf>) -> Journal {
        let text = path.as_ref().map(|path| disk::read(path)).transpose();
        let text = text.unwrap_or_else(|cause| {
            tracing::warn!(%cause, "cannot read which names an earlier run showed");
            None
        });
        let names = text.flatten().map(|text| text.lines().filter_map(read).collect());
        Journal { path, names: names.unwrap_or_default() }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Key> {
        self.names.iter()
    }

    /// A name is about to be shown.
    pub(super) fn add(&mut self, key: &Key) {
        if self.names.insert(key.clone()) {
            self.write();
        }
    }

    /// A name is gone.
    pub(super) fn remove(&mut self, key: &Key) {
        if self.names.remove(key) {
            self.write();
        }
    }

    fn write(&self) {
        let Some(path) = &self.path else { return };
        let text: String =
            self.names.iter().map(|(name, kind)| format!("{} {name}\n", kind.word())).collect();
        if let Err(cause) = disk::replace(path, text.as_bytes()) {
            let path = path.display();
            tracing::warn!(%cause, %path, "cannot keep which names are shown: killed now, they would stay");
        }
    }
}

fn read(line: &str) -> Option<Key> {
    let (kind, name) = line.split_once(' ')?;
    let kinds = [NameKind::A, NameKind::Aaaa, NameKind::Cname, NameKind::Srv, NameKind::Txt];
    Some((name.into(), kinds.into_iter().find(|known| known.word() == kind)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = Some(folder.path().join("names"));
        let (a, b): (Key, Key) = (("a.example".into(), NameKind::A), ("*.b.example".into(), NameKind::Cname));
        let mut journal = Journal::open(path.clone());
        journal.add(&a);
        journal.add(&b);
        journal.remove(&a);
        assert_eq!(Journal::open(path).names().collect::<Vec<_>>(), [&b]);
        assert_eq!(Journal::open(None).names().count(), 0);
    }
}
