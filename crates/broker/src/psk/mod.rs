//! Pre-shared keys: who may come, and who answers, proven by a key that both sides have.
//!
//! rustls has no external pre-shared keys, so the proof stands inside TLS 1.3 instead, bound to that one handshake
//! by its exporter (RFC 8446 section 7.5, RFC 9266): whoever stands between two handshakes has another exporter on
//! either side and can pass no proof on. The certificate says nothing then and may be anybody's. See the decision on pre-shared keys in `docs/decisions`.
//!
//! | who | says | bytes |
//! |---|---|---|
//! | client | ALPN `portolan-psk/1` in its hello | |
//! | client | length of its identity, the identity, its proof | 1, up to 128, 32 |
//! | server | its proof; ends the connection instead when it does not believe the client's | 32 |
//!
//! A proof is HMAC-SHA256 by the key over a word for the side, the exporter and the identity.

mod key;
mod proof;

pub use key::{Key, KeyError, Keys, SHORTEST, is_identity};
pub use proof::{Binding, PROTOCOL, check, prove};
