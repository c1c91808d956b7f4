//! HTTP/2 frames by hand (RFC 9113 section 4.1), so that they may be wrong.

/// What an HTTP/2 client says first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RESET: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// One frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The preface and settings, of which each is an identifier and a value.
pub(super) fn opening(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    [PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat()
}

/// A literal field that is not indexed, its name and value as they are (RFC 7541 section 6.2.2).
pub(super) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0];
    for text in [name, value] {
        block.extend(integer(text.len(), 7));
        block.extend_from_slice(text.as_bytes());
    }
    block
}

/// An integer with a prefix of so many bits (RFC 7541 section 5.1).
pub(super) fn integer(mut value: usize, bits: u32) -> Vec<u8> {
    let most = (1 << bits) - 1;
    if value < most {
        return vec![value as u8];
    }
    let mut bytes = vec![most as u8];
    value -= most;
    while value >= 128 {
        bytes.push(value as u8 % 128 + 128);
        value /= 128;
    }
    bytes.push(value as u8);
    bytes
}

/// The fields of `GET http://web{path}`.
pub(super) fn get(path: &str) -> Vec<u8> {
    // `:method: GET` and `:scheme: http` stand in the static table.
    let mut block = vec![0x82, 0x86];
    block.extend(literal(":path", path));
    block.extend(literal(":authority", "web"));
    block
}

/// A whole request.
pub(super) fn request(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get(path))
}
