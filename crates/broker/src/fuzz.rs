//! Entries for fuzzing: each takes any bytes and must not panic; what it asserts holds for all of them.

use crate::libipc::{self, Generation};
use crate::network;
use crate::psk::{Key, Keys, is_identity};
use crate::uri::{Uri, is_service_name};
use crate::websocket::{Decoder, Event, Fault, Kind, Role};

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

/// A client's frames: read byte by byte they mean what they mean at once, and text is text.
pub fn websocket(bytes: &[u8]) {
    let (at_once, verdict) = told(bytes, bytes.len().max(1));
    assert_eq!(told(bytes, 1), (at_once, verdict));
    let (_, of_server) = told_to(Role::Client, bytes, bytes.len().max(1));
    assert!(of_server.is_none_or(|fault| (1000..1010).contains(&fault.code())));
}

/// What a client's bytes tell: messages as far as they came, control frames, and what is wrong.
type Told = (Vec<(String, Vec<u8>)>, Option<Fault>);

fn told(bytes: &[u8], at_a_time: usize) -> Told {
    told_to(Role::Server, bytes, at_a_time)
}

fn told_to(role: Role, bytes: &[u8], at_a_time: usize) -> Told {
    let mut decoder = Decoder::new(role, 1 << 16);
    let mut input = bytes::BytesMut::new();
    let mut told: Vec<(String, Vec<u8>)> = Vec::new();
    let mut is_inside = None;
    for piece in bytes.chunks(at_a_time) {
        input.extend_from_slice(piece);
        loop {
            match decoder.poll_event(&mut input) {
                Ok(None) => break,
                // How much of a message was told before it broke depends on how it came.
                Err(fault) => {
                    return (told.into_iter().filter(|(what, _)| what != "open").collect(), Some(fault));
                }
                Ok(Some(Event::Data { kind, bytes, is_end })) => {
                    let at = *is_inside.get_or_insert_with(|| {
                        told.push(("open".to_owned(), Vec::new()));
                        told.len() - 1
                    });
                    told[at].1.extend_from_slice(&bytes);
                    if is_end {
                        is_inside = None;
                        told[at].0 = format!("{kind:?}");
                        assert!(kind == Kind::Binary || std::str::from_utf8(&told[at].1).is_ok());
                    }
                }
                Ok(Some(Event::Ping(bytes))) => told.push(("ping".to_owned(), bytes.to_vec())),
                Ok(Some(Event::Pong(bytes))) => told.push(("pong".to_owned(), bytes.to_vec())),
                Ok(Some(Event::Close(closing))) => {
                    told.push((format!("close {:?}", closing.code), closing.reason.into_bytes()));
                }
            }
        }
    }
    (told.into_iter().filter(|(what, _)| what != "open").collect(), None)
}

/// The answer to a request for a WebSocket: what is taken lies inside it.
pub fn websocket_answer(bytes: &[u8]) {
    if let Ok(Some(length)) = crate::websocket::read_response(bytes, "dGhlIHNhbXBsZSBub25jZQ==") {
        assert!(length <= bytes.len() && bytes[..length].ends_with(b"\n"));
    }
}

/// tcpd's greeting: the name in it is a service's, and the end of a line says nothing more.
pub fn greeting(bytes: &[u8]) {
    use crate::incoming::greeting::named;
    let Some(name) = named(bytes) else { return };
    assert!(is_service_name(name) && bytes.starts_with(name.as_bytes()));
    assert_eq!(named(name.as_bytes()), Some(name));
    assert_eq!(named(format!("{name}\n").as_bytes()), Some(name));
}

/// A file of pre-shared keys: each identity that stands in it has its key, and what is wrong is told without one.
pub fn keys(text: &str) {
    let path = std::path::Path::new("keys");
    let Ok(keys) = Keys::parse(path, text) else { return };
    for (identity, key) in text.lines().filter_map(|line| line.trim().split_once(':')) {
        let is_a_key = is_identity(identity) && Key::parse(key).is_ok();
        assert!(identity.starts_with('#') || (is_a_key && keys.of(identity).is_ok()));
    }
}

/// What a SOCKS client says.
pub fn socks(bytes: &[u8]) {
    crate::gateway::fuzz_socks(bytes);
}

/// What a client of the gateway asks for.
pub fn gateway_target(text: &str) {
    crate::gateway::fuzz_target(text);
}
