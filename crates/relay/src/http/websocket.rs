//! The keys of a WebSocket's handshake (RFC 6455 section 4), for whoever opens one toward an endpoint.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What makes an answer one of WebSocket.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A new `Sec-WebSocket-Key`: 16 bytes in base 64. It proves that the server speaks WebSocket, and is no secret.
pub fn new_key() -> String {
    let mut bytes = [0; 16];
    fastrand::fill(&mut bytes);
    STANDARD.encode(bytes)
}

/// What proves that a key was read: `Sec-WebSocket-Accept`.
pub fn accept_key(key: &str) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(MAGIC.as_bytes());
    STANDARD.encode(context.finish())
}
