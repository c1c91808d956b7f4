//! Ids that nobody can guess: whoever knows a session's may lock in its name.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use http::StatusCode;

use crate::http::Failure;

/// A UUID of version 4 (RFC 9562 section 5.4) from the kernel's random numbers.
///
/// # Errors
/// 500 when the kernel has none.
pub(crate) fn new_id() -> Result<Arc<str>, Failure> {
    let mut bytes = [0u8; 16];
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes)).map_err(|cause| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("read /dev/urandom for an id: {cause}"))
    })?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-").into())
}
