//! The engine's answers as a fuzzer gives them.

use crate::config::Config;
use crate::engine::Container;
use crate::plan::{OWNER, Plan};

/// Any bytes as the engine's answer: they are read or refused, and what is planned names a service, a port and its
/// container.
pub fn fuzz_containers(bytes: &[u8]) {
    let Ok(containers) = serde_json::from_slice::<Vec<Container>>(bytes) else { return };
    for internal in [false, true] {
        let config = Config { internal, ..Config::default() };
        for (id, service) in Plan::of(&containers, "host", &config).services {
            assert_eq!(*service.id, *id);
            assert_ne!(service.port, 0);
            assert!(service.meta.contains_key(OWNER));
            assert!(service.checks.iter().all(|check| check.args.is_empty() && check.script.is_empty()));
        }
    }
}
