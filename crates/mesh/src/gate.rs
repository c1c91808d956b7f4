//! How much strangers get: connections in all and from one source, handshakes per second and in flight.
//!
//! Pure but for its lock: the clock is an argument.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Limits;

/// Sources that are remembered; beyond it the idle ones are forgotten.
const SOURCES: usize = 8192;

/// What becomes of a connection attempt.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Go on; the seat is given back when it is dropped.
    Admit(Seat),
    /// Prove the address first.
    Retry,
    /// Too much from there, or too much at all: no answer.
    Ignore,
}

/// The gate. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: usize,
    handshakes: usize,
    sources: HashMap<IpAddr, Source>,
}

#[derive(Debug)]
struct Source {
    connections: usize,
    /// Handshakes that it may begin at `at`, and a second later as many more as the rate says.
    tokens: f64,
    at: Instant,
}

/// A place for one connection.
#[derive(Debug)]
pub(crate) struct Seat {
    gate: Gate,
    source: IpAddr,
    in_handshake: bool,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Gate {
        Gate(Arc::new(Shared { limits, state: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides on an attempt from `from`, whose address is `proven` or not.
    pub(crate) fn knock(&self, from: IpAddr, proven: bool, now: Instant) -> Verdict {
        let limits = &self.0.limits;
        let mut state = self.lock();
        if state.connections >= limits.connections || state.handshakes >= limits.handshakes_in_flight * 4 {
            return Verdict::Ignore;
        }
        if !proven && state.handshakes >= limits.handshakes_in_flight {
            return Verdict::Retry;
        }
        let source = source_of(from);
        if !state.remember(source, limits, now) {
            return Verdict::Ignore;
        }
        state.connections += 1;
        state.handshakes += 1;
        drop(state);
        Verdict::Admit(Seat { gate: self.clone(), source, in_handshake: true })
    }
}

impl State {
    /// Counts one more connection of a source, unless it has had enough.
    fn remember(&mut self, source: IpAddr, limits: &Limits, now: Instant) -> bool {
        let rate = f64::from(limits.handshakes_per_source);
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&source) {
            let idle = |source: &Source| now.saturating_duration_since(source.at) > Duration::from_secs(1);
            self.sources.retain(|_, source| source.connections > 0 || !idle(source));
            if self.sources.len() >= SOURCES {
                return false;
            }
        }
        let known = self.sources.entry(source).or_insert(Source { connections: 0, tokens: rate, at: now });
        let passed = now.saturating_duration_since(known.at).as_secs_f64();
        known.tokens = (known.tokens + passed * rate).min(rate);
        known.at = now;
        if known.tokens < 1.0 || known.connections >= limits.connections_per_source {
            return false;
        }
        known.tokens -= 1.0;
        known.connections += 1;
        true
    }
}

impl Seat {
    /// The handshake is over and the connection stays.
    pub(crate) fn settled(&mut self) {
        if std::mem::take(&mut self.in_handshake) {
            let mut state = self.gate.lock();
            state.handshakes = state.handshakes.saturating_sub(1);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.settled();
        let mut state = self.gate.lock();
        state.connections = state.connections.saturating_sub(1);
        if let Some(source) = state.sources.get_mut(&self.source) {
            source.connections = source.connections.saturating_sub(1);
        }
    }
}

/// One customer's network in IPv6 is a /64.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn admitted(verdict: Verdict) -> Seat {
        match verdict {
            Verdict::Admit(seat) => seat,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_source_cannot_take_what_is_for_all() {
        let gate = Gate::new(Limits { connections_per_source: 2, ..Limits::default() });
        let now = Instant::now();
        let first = admitted(gate.knock(HOME, true, now));
        let _second = admitted(gate.knock(HOME, true, now));
        assert!(matches!(gate.knock(HOME, true, now), Verdict::Ignore));
        let _other = admitted(gate.knock(OTHER, true, now));
        drop(first);
        admitted(gate.knock(HOME, true, now));
    }

    #[test]
    fn handshakes_of_a_source_have_a_rate() {
        let gate = Gate::new(Limits { handshakes_per_source: 3, ..Limits::default() });
        let now = Instant::now();
        for _ in 0..3 {
            drop(admitted(gate.knock(HOME, true, now)));
        }
        assert!(matches!(gate.knock(HOME, true, now), Verdict::Ignore));
        admitted(gate.knock(HOME, true, now + Duration::from_secs(1)));
    }

    #[test]
    fn under_load_an_address_must_be_proven() {
        let gate = Gate::new(Limits { handshakes_in_flight: 1, ..Limits::default() });
        let now = Instant::now();
        let mut seat = admitted(gate.knock(HOME, false, now));
        assert!(matches!(gate.knock(OTHER, false, now), Verdict::Retry));
        let _proven = (0..3).map(|_| admitted(gate.knock(OTHER, true, now))).collect::<Vec<_>>();
        assert!(matches!(gate.knock(OTHER, true, now), Verdict::Ignore));
        seat.settled();
        admitted(gate.knock(OTHER, true, now));
    }

    #[test]
    fn a_flood_of_sources_is_not_remembered_for_ever() {
        let gate = Gate::new(Limits::default());
        let now = Instant::now();
        for at in 0..SOURCES as u32 {
            drop(admitted(gate.knock(IpAddr::V4(at.into()), true, now)));
        }
        assert!(matches!(gate.knock(OTHER, true, now), Verdict::Ignore));
        admitted(gate.knock(OTHER, true, now + Duration::from_secs(2)));
        assert!(gate.lock().sources.len() < 10);
    }
}
