//! Which tags the endpoints of a service have, so that asking for one that nobody has costs no walk over them all.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::names::Tag;
use crate::wire::name::MAX_NAME;
use crate::zone::entry::{EndpointEntry, Which};
use crate::zone::lower;

/// How often endpoints have each tag; sorted, in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tags(Vec<(Arc<str>, Counts)>);

/// Among those that our zone gives out, and among the others.
type Counts = [u32; 2];

impl Tags {
    /// Tags of both parts.
    pub(crate) fn of(healthy: &[EndpointEntry], others: &[EndpointEntry]) -> Tags {
        let mut counts: BTreeMap<Arc<str>, Counts> = BTreeMap::new();
        for (part, endpoints) in [healthy, others].into_iter().enumerate() {
            for tag in endpoints.iter().flat_map(|endpoint| &endpoint.def.tags) {
                counts.entry(lower(tag)).or_default()[part] += 1;
            }
        }
        Tags(counts.into_iter().collect())
    }

    /// One endpoint more.
    pub(crate) fn add(&mut self, endpoint: &EndpointEntry, is_healthy: bool) {
        for tag in endpoint.def.tags.iter().map(lower) {
            let at = self.find(&tag).unwrap_or_else(|at| {
                self.0.insert(at, (tag, Counts::default()));
                at
            });
            self.0[at].1[usize::from(!is_healthy)] += 1;
        }
    }

    /// One endpoint less, which was added before.
    pub(crate) fn remove(&mut self, endpoint: &EndpointEntry, is_healthy: bool) {
        for tag in endpoint.def.tags.iter().map(lower) {
            let Ok(at) = self.find(&tag) else { continue };
            let counts = &mut self.0[at].1;
            counts[usize::from(!is_healthy)] -= 1;
            if *counts == Counts::default() {
                self.0.remove(at);
            }
        }
    }

    /// How many endpoints have `tag`: never too few, and too many where one has it twice.
    pub(crate) fn count(&self, tag: Tag<'_>, which: Which) -> usize {
        let mut text = [0; MAX_NAME];
        let found = tag.text(&mut text).and_then(|text| {
            let at = self.0.binary_search_by(|(tag, _)| tag.as_bytes().cmp(text));
            at.ok().map(|at| self.0[at].1)
        });
        let [healthy, others] = found.unwrap_or_default();
        match which {
            Which::Healthy => healthy as usize,
            Which::Usable => healthy as usize + others as usize,
        }
    }

    fn find(&self, tag: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| (**other).cmp(tag))
    }
}

#[cfg(test)]
mod tests {
    use catalog::InstanceDef;

    use super::*;
    use crate::zone::entry::Address;

    fn endpoint(tags: &[&str]) -> EndpointEntry {
        let tags = tags.iter().map(|tag| Arc::from(*tag)).collect();
        let def = InstanceDef { tags, ..InstanceDef::new("web".into(), "web".into(), 80) };
        let address = Address::Ip("10.0.0.1".parse().unwrap());
        EndpointEntry { address, port: 80, weight: 1, node: "here".into(), def: Arc::new(def) }
    }

    #[test]
    fn counts_what_a_walk_would_find() {
        let healthy = [endpoint(&["v1", "Primary"]), endpoint(&["V1", "v1.2"]), endpoint(&[])];
        let others = [endpoint(&["v1", "x"])];
        let tags = Tags::of(&healthy, &others);
        for asked in [
            Tag::Labels(b"\x02v1"),
            Tag::Labels(b"\x02v1\x012"),
            Tag::Labels(b"\x04v1.2"),
            Tag::Labels(b"\x07primary"),
            Tag::Labels(b"\x01x"),
            Tag::Labels(b"\x01v"),
            Tag::Word(b"v1.2"),
            Tag::Word(b"v1"),
            Tag::Word(b"nothing"),
        ] {
            let walk = |part: &[EndpointEntry]| {
                part.iter().filter(|one| one.def.tags.iter().any(|tag| asked.matches(tag))).count()
            };
            assert_eq!(tags.count(asked, Which::Healthy), walk(&healthy), "{asked:?}");
            assert_eq!(tags.count(asked, Which::Usable), walk(&healthy) + walk(&others), "{asked:?}");
        }
    }

    #[test]
    fn what_comes_and_goes_leaves_nothing_behind() {
        let stays = [endpoint(&["b", "B"])];
        let mut tags = Tags::of(&stays, &[]);
        let guest = endpoint(&["a", "b", "C"]);
        tags.add(&guest, false);
        assert_eq!(tags, Tags::of(&stays, std::slice::from_ref(&guest)));
        tags.remove(&guest, false);
        assert_eq!(tags, Tags::of(&stays, &[]));
    }
}
