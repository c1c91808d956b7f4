//! From a catalog's answer to wishes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use consul::listing::{CatalogNode, HealthCheck};

use crate::tags;
use crate::wish::{Place, Wishes};

/// Ids of services whose checks fail; `""` stands for the node itself.
pub type Unhealthy = BTreeSet<Arc<str>>;

/// Reads every tag of every service on the node. Services in `unhealthy` wish nothing.
pub fn wishes(node: &CatalogNode, unhealthy: &Unhealthy) -> Wishes {
    let mut wishes = Wishes { place: place(node.node.meta.as_ref()), ..Wishes::default() };
    if unhealthy.contains("") {
        return wishes;
    }
    for (id, service) in node.services.iter().filter(|(id, _)| !unhealthy.contains(*id)) {
        for tag in &service.tags {
            tags::take(id, tag, &mut wishes);
        }
    }
    wishes
}

/// Services with a check that is critical, of `/v1/health/node/<node>`.
pub fn unhealthy(checks: &[HealthCheck]) -> Unhealthy {
    let failing = checks.iter().filter(|check| &*check.status == "critical");
    failing.map(|check| check.service_id.clone()).collect()
}

/// The metadata that D53 reads. What is no address counts as absent.
fn place(meta: Option<&BTreeMap<Arc<str>, Arc<str>>>) -> Place {
    let of = |key: &str| meta.and_then(|meta| meta.get(key));
    Place {
        public_ipv4: of("public_ipv4").and_then(|text| text.parse().ok()),
        public_ipv6: of("public_ipv6").and_then(|text| text.parse().ok()),
        cname_target: of("cname_target").and_then(|text| catalog::exposure::public_name(text).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: &str) -> CatalogNode {
        consul::decode(json.as_bytes()).unwrap()
    }

    const THREE: &str = r#"{"Node":{"Node":"lheureduthe","Meta":{"public_ipv4":"45.83.0.1","public_ipv6":"no"}},
        "Services":{"consul":{"ID":"consul","Service":"consul","Tags":[]},
        "fake_leet":{"ID":"fake_leet","Service":"fake_leet","Tags":["(diplonat (tcp_port 1337) (tcp_port 1338 1339))","v1"]},
        "fake_dns":{"ID":"fake_dns","Service":"fake_dns","Tags":["(diplonat (udp_port 53) (tcp_port 53))","d53-a ns.example.org"]},
        "bad":{"ID":"bad","Service":"bad","Tags":["(diplonat (tcp_port 1) (tcp_prt 2))"]}}}"#;

    #[test]
    fn tags_of_all_services_are_joined_and_bad_ones_reported() {
        let wishes = wishes(&node(THREE), &Unhealthy::new());
        let ports: Vec<_> = wishes.ports.iter().map(|wish| wish.external.to_string()).collect();
        assert_eq!(ports, ["53/tcp", "1337/tcp", "1338/tcp", "1339/tcp", "53/udp"]);
        assert_eq!(wishes.names.iter().map(|wish| &*wish.name).collect::<Vec<_>>(), ["ns.example.org"]);
        let said: Vec<_> = wishes.complaints.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "service \"bad\", tag \"(diplonat (tcp_port 1) (tcp_prt 2))\", column 25: \"tcp_prt\" is unknown; there are tcp_port and udp_port"
            ]
        );
        assert_eq!(wishes.place.public_ipv4, Some([45, 83, 0, 1].into()));
        assert_eq!(wishes.place.public_ipv6, None);
    }

    #[test]
    fn failing_services_wish_nothing_and_a_failing_node_nothing_at_all() {
        let left = wishes(&node(THREE), &["fake_leet".into()].into());
        assert_eq!(left.ports.len(), 2);
        assert!(wishes(&node(THREE), &["".into()].into()).ports.is_empty());
    }
}
