//! Stable addresses for services: a fixed hash of the name, then probing; released addresses rest before
//! another service may have them, so that no cache still points at the wrong one.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

/// A service's stable address. The port is the service's own field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VirtualIp(pub Ipv4Addr);

/// Addresses to choose from: `base/prefix`. The first and the last are never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// First address; bits below the prefix are ignored.
    pub base: Ipv4Addr,
    /// Prefix length, 8 to 30.
    pub prefix: u8,
}

impl Default for Range {
    /// 127.77.0.0/16: loopback, so no privilege is needed to bind it.
    fn default() -> Self {
        Range { base: Ipv4Addr::new(127, 77, 0, 0), prefix: 16 }
    }
}

impl Range {
    /// How many addresses can be given out.
    pub fn len(&self) -> u32 {
        (1u32 << (32 - self.bits())) - 2
    }

    /// Never: a range has at least two addresses.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// True when `address` lies in the range.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (u32::from(address) ^ u32::from(self.base)) >> (32 - self.bits()) == 0
    }

    fn bits(&self) -> u32 {
        u32::from(self.prefix).clamp(8, 30)
    }

    /// The `slot`-th address, counted from the second of the range and wrapping.
    fn address(&self, slot: u64) -> Ipv4Addr {
        let host = 1 + (slot % u64::from(self.len())) as u32;
        let mask = u32::MAX << (32 - self.bits());
        Ipv4Addr::from((u32::from(self.base) & mask) | host)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// Why some text is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of IPv4 addresses like 127.77.0.0/16, with a prefix of 8 to 30 bits")]
pub struct NotARange(String);

impl FromStr for Range {
    type Err = NotARange;

    fn from_str(text: &str) -> Result<Range, NotARange> {
        let read = || {
            let (base, prefix) = text.split_once('/')?;
            let range = Range { base: base.parse().ok()?, prefix: prefix.parse().ok()? };
            (8..=30).contains(&range.prefix).then_some(range)
        };
        read().ok_or_else(|| NotARange(text.to_owned()))
    }
}

/// What is known of one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slot {
    /// A service has it.
    Taken {
        /// Service name.
        service: Arc<str>,
    },
    /// A service had it. That service may have it back; others wait.
    Resting {
        /// Service name.
        service: Arc<str>,
        /// Unix milliseconds until which it rests.
        until_ms: u64,
    },
    /// A host uses it for something else.
    Avoided,
}

/// All addresses that are not simply free.
pub type Slots = OrdMap<Ipv4Addr, Slot>;

/// Chooses the address for `service`: the first of its probe sequence that is free, rested, or its own.
/// `None` when the range is exhausted after `PROBES` tries.
pub(crate) fn choose(slots: &Slots, range: &Range, service: &str, now_ms: u64) -> Option<Ipv4Addr> {
    const PROBES: u64 = 4096;
    let start = fnv1a(service);
    (0..PROBES.min(u64::from(range.len()))).map(|step| range.address(start.wrapping_add(step))).find(
        |address| match slots.get(address) {
            None => true,
            Some(Slot::Resting { service: previous, until_ms }) => {
                &**previous == service || *until_ms <= now_ms
            }
            Some(Slot::Taken { .. } | Slot::Avoided) => false,
        },
    )
}

/// FNV-1a, 64 bits. Fixed for ever: another hash would move every service's address.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
