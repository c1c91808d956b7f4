//! Rules about networks: the address space cut into stretches, each with the rules that hold in it, so that one
//! search finds them all however the networks lie in each other.

use std::collections::BTreeMap;
use std::net::IpAddr;

use catalog::Network;

use super::Facets;
use super::leaf::{Leaf, Slot};

/// While rules are collected.
#[derive(Debug, Default)]
pub(super) struct Collected(BTreeMap<Network, Leaf>);

impl Collected {
    pub(super) fn push(&mut self, network: Network, slot: Slot) {
        self.0.entry(network).or_default().push(slot);
    }

    pub(super) fn compile(self) -> Networks {
        let (v4, v6) = self.0.into_iter().partition(|(network, _)| network.address.is_ipv4());
        Networks { v4: stretches(v4), v6: stretches(v6) }
    }
}

/// First addresses of stretches, ascending; before the first of them no rule holds.
type Stretches = Box<[(u128, Leaf)]>;

/// Ready to be asked.
#[derive(Debug, Default)]
pub(super) struct Networks {
    v4: Stretches,
    v6: Stretches,
}

impl Networks {
    #[inline]
    pub(super) fn ask(&self, from: IpAddr, facets: &Facets<'_>, best: &mut u32) {
        let stretches = match from.to_canonical() {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        let at = stretches.partition_point(|(first, _)| *first <= number(from));
        if let Some((_, leaf)) = at.checked_sub(1).and_then(|at| stretches.get(at)) {
            leaf.ask(facets, best);
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// The last address of a network.
fn last(network: &Network) -> u128 {
    let bits = if network.address.is_ipv4() { 32 } else { 128 };
    let free = bits - u32::from(network.prefix);
    number(network.address) | 1u128.checked_shl(free).map_or(u128::MAX, |size| size - 1)
}

/// Networks lie in each other or apart, never across: a walk from the first address to the last with those that
/// are open at each on a stack. Sorted by address, the wider first.
fn stretches(networks: BTreeMap<Network, Leaf>) -> Stretches {
    let mut found: Vec<(u128, Leaf)> = Vec::new();
    let mut open: Vec<(u128, Leaf)> = Vec::new();
    let close = |open: &mut Vec<(u128, Leaf)>, found: &mut Vec<(u128, Leaf)>, before: Option<u128>| {
        while let Some((end, _)) = open.last().filter(|(end, _)| before.is_none_or(|before| *end < before)) {
            let next = end.checked_add(1);
            open.pop();
            let around = open.last().map_or_else(Leaf::default, |(_, leaf)| leaf.clone());
            found.extend(next.map(|next| (next, around)));
        }
    };
    for (network, leaf) in networks {
        let first = number(network.address);
        close(&mut open, &mut found, Some(first));
        let leaf = open.last().map_or_else(|| leaf.clone(), |(_, around)| around.with(&leaf));
        found.push((first, leaf.clone()));
        open.push((last(&network), leaf));
    }
    close(&mut open, &mut found, None);
    // Of several that begin at one address the last pushed holds.
    found.reverse();
    found.sort_by_key(|(first, _)| *first);
    found.dedup_by_key(|(first, _)| *first);
    found.into()
}
