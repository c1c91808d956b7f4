//! Foreign bytes as plain functions: each panics when a promise is broken and returns when they were refused.

use std::net::IpAddr;
use std::sync::Arc;

use crate::router::igd::{description, soap, ssdp};
use crate::router::{natpmp, pcp};
use crate::tags;
use crate::wish::Wishes;

/// A tag of a service: every complaint has a column in it, and no wish a port 0.
pub fn tag(text: &str) {
    let service: Arc<str> = "service".into();
    let mut wishes = Wishes::default();
    tags::take(&service, text, &mut wishes);
    for complaint in &wishes.complaints {
        assert!(complaint.column >= 1 && complaint.column <= text.chars().count() + 1, "{complaint}");
    }
    assert!(wishes.ports.iter().all(|wish| wish.external.number != 0 && wish.internal != 0));
    assert!(
        wishes
            .names
            .iter()
            .all(|wish| catalog::exposure::public_name(&wish.name).as_deref() == Ok(&*wish.name))
    );
}

/// An answer to a search, and those of PCP, NAT-PMP and STUN.
pub fn datagram(bytes: &[u8]) {
    let from: IpAddr = [192, 168, 77, 1].into();
    if let Some(answer) = ssdp::parse(bytes, from) {
        assert!(answer.location.starts_with("http://192.168.77.1"), "{answer:?}");
    }
    crate::stun::fuzz(bytes);
    let _ = pcp::parse(bytes);
    for opcode in 0..3 {
        let _ = natpmp::parse(bytes, opcode);
    }
}

/// A router's description of itself, and its answer to an action.
pub fn router_xml(text: &str) {
    if let Ok(services) = description::services(text, "http://192.168.77.1:5000/root.xml") {
        for service in services {
            assert_eq!(service.base.host(), "192.168.77.1");
            assert!(service.path.starts_with('/'), "{service:?}");
        }
    }
    if let Ok(values) = soap::read(text, "GetExternalIPAddress") {
        assert!(values.len() <= 32);
    }
}
