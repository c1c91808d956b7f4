//! Entries for fuzzing: each takes any bytes and must not panic; what it asserts holds for all of them.

use crate::libipc::{self, Generation};
use crate::network;
use crate::uri::{Uri, is_service_name};

/// A packet of our own protocol.
pub fn request(bytes: &[u8]) {
    if let Ok(request) = crate::session::parse(bytes) {
        let again = serde_json::to_vec(&request).ok();
        assert_eq!(again.as_deref().map(crate::session::parse), Some(Ok(request)));
    }
}

/// A frame of either generation: it lies inside the input, and does not depend on what follows it.
pub fn frame(bytes: &[u8]) {
    let Ok(Some(frame)) = libipc::read(bytes) else { return };
    let header = if frame.generation == Generation::C { 6 } else { 4 };
    assert_eq!(frame.length, header + frame.payload.len());
    assert_eq!(libipc::read(&bytes[..frame.length]), Ok(Some(frame)));
    assert_eq!(libipc::read(&bytes[..frame.length - 1]), Ok(None));
    if let Ok((service, _)) = libipc::wanted(&frame) {
        assert!(!service.contains(';') && !service.contains('\0'));
    }
}

/// An `IPC_NETWORK`: what is found stands in it.
pub fn map(text: &str) {
    for (name, uri) in network::entries(text) {
        assert!(!name.is_empty() && !uri.is_empty() && !name.contains(';') && !uri.contains(';'));
        assert!(network::lookup(text, name).is_some());
    }
}

/// A URI: shown without its secret, it reads the same but for that.
pub fn uri(text: &str) {
    let Ok(uri) = Uri::parse(text) else { return };
    let shown = uri.to_string();
    let again = Uri::parse(&shown);
    assert!(again.is_ok(), "{shown}");
    if let Ok(again) = again {
        assert_eq!((again.host, again.port, &again.service), (uri.host, uri.port, &uri.service));
    }
    assert!(uri.service.is_none_or(|service| is_service_name(&service)));
}
