//! What is measured, one file for each group. To add one: a file, a row here, a note where one is needed.

mod blocking;
mod broker;
mod cluster;
mod consul;
mod footprint;
mod leases;
mod mesh;
mod names;
mod relayed;
mod scaling;
mod start;
mod tree;
mod tunnels;
mod visible;
mod web;
mod writes;

use anyhow::{Context as _, Result};

use crate::harness::Context;
use crate::harness::cores::Cores;
use crate::report::Section;

/// One group.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&Context, &Cores) -> Result<Section>,
    /// Whether it runs the daemon, which then has to be built.
    pub(crate) needs_portolan: bool,
}

/// All of them, in the order of the document.
pub(crate) const GROUPS: &[Group] = &[
    Group { name: "writes", about: "durable writes beside etcd", run: writes::run, needs_portolan: true },
    Group {
        name: "visible",
        about: "from a registration to its DNS name",
        run: visible::run,
        needs_portolan: true,
    },
    Group {
        name: "blocking",
        about: "ten thousand blocking queries",
        run: blocking::run,
        needs_portolan: true,
    },
    Group { name: "consul", about: "the same clients beside Consul", run: consul::run, needs_portolan: true },
    Group { name: "footprint", about: "memory, idle and full", run: footprint::run, needs_portolan: true },
    Group { name: "leases", about: "sweeping a million leases", run: leases::run, needs_portolan: false },
    Group {
        name: "tunnels",
        about: "ten thousand GOST tunnels renewing for two minutes",
        run: tunnels::run,
        needs_portolan: true,
    },
    Group { name: "start", about: "from start to serving", run: start::run, needs_portolan: true },
    Group {
        name: "cluster",
        about: "three servers beside three of etcd, the leader killed, and agents",
        run: cluster::run,
        needs_portolan: true,
    },
    Group {
        name: "mesh",
        about: "streams beside the QUIC library, and commits beside bulk",
        run: mesh::run,
        needs_portolan: true,
    },
    Group { name: "dns", about: "DNS beside Knot and NSD", run: names::run, needs_portolan: true },
    Group {
        name: "tcp",
        about: "TCP beside HAProxy and nginx",
        run: relayed::tcp::run,
        needs_portolan: true,
    },
    Group { name: "http", about: "HTTP beside HAProxy and nginx", run: web::run, needs_portolan: true },
    Group { name: "udp", about: "UDP beside nginx", run: relayed::udp::run, needs_portolan: true },
    Group {
        name: "broker",
        about: "connections handed over, lookups, TLS beside HAProxy, WebSocket beside bridges",
        run: broker::run,
        needs_portolan: true,
    },
    Group { name: "scaling", about: "costs while something grows", run: scaling::run, needs_portolan: true },
    Group {
        name: "tree",
        about: "a clean build, and what it is made of",
        run: tree::run,
        needs_portolan: false,
    },
];

/// From a line `name value unit`.
fn value(said: &str, name: &str) -> Result<f64> {
    let mut words = said.lines().filter_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    let value = words.next().with_context(|| format!("no {name} in {said:?}"))?;
    value.parse().with_context(|| format!("{name} is {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn values_are_found_by_name() {
        assert_eq!(value("a.b 1.5 ms for 3\na.c 7 ns\n", "a.c").unwrap(), 7.0);
        assert!(value("a.b x ms", "a.b").is_err());
    }
}
