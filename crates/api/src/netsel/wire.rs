//! The bytes. Requests are taken as they come: in one piece or in several, padded or not.

use std::fmt;
use std::net::IpAddr;

/// Longest request, in bytes.
pub(super) const MAX_REQUEST: usize = 256;
/// Longest answer, in bytes: half of what clients read at once.
const MAX_ANSWER: usize = 256;
/// The fourth part of an answer. The seed's clients want it there and do not look at it.
const NOMINAL_LEASE_S: u32 = 86_400;

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// To be registered under this name.
    Register(String),
    /// To stay registered.
    Heartbeat(String),
    /// To know where that name is and when it was last heard of.
    Lookup(String),
}

/// Why bytes are no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    Empty,
    TooLong,
    NotText,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Empty => "the request is empty",
            Malformed::TooLong => "the request is longer than 256 bytes",
            Malformed::NotText => "the request is not UTF-8 text",
        })
    }
}

/// True when nothing that follows could change what `bytes` ask for: they hold a NUL or a line end, or are
/// longer than a request may be.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    bytes.len() > MAX_REQUEST || end_of(bytes).is_some()
}

fn end_of(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| matches!(byte, 0 | b'\n' | b'\r'))
}

/// Reads a request. Blanks around a name do not count.
pub(super) fn parse(bytes: &[u8]) -> Result<Request, Malformed> {
    let text = &bytes[..end_of(bytes).unwrap_or(bytes.len())];
    if text.len() > MAX_REQUEST {
        return Err(Malformed::TooLong);
    }
    let text = std::str::from_utf8(text).map_err(|_| Malformed::NotText)?.trim();
    match text.split_once('|') {
        _ if text.is_empty() => Err(Malformed::Empty),
        Some(("HEARTBEAT", name)) => Ok(Request::Heartbeat(name.trim().into())),
        Some(("LOOKUP", name)) => Ok(Request::Lookup(name.trim().into())),
        _ => Ok(Request::Register(text.into())),
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Registered { ip: IpAddr, port: u16 },
    Failed { reason: String },
    Renewed,
    NotRenewed,
    Found { ip: IpAddr, port: u16, unrenewed_ms: u128 },
    NotFound,
}

impl Answer {
    /// Its bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Answer::Registered { ip, port } => format!("SUCCESS|{ip}|{port}|{NOMINAL_LEASE_S}\0").into(),
            Answer::Failed { reason } => failed(reason),
            Answer::Renewed => b"HEARTBEAT_OK".to_vec(),
            Answer::NotRenewed => b"HEARTBEAT_FAILED".to_vec(),
            Answer::Found { ip, port, unrenewed_ms } => format!("FOUND|{ip}|{port}|{unrenewed_ms}\0").into(),
            Answer::NotFound => b"NOT_FOUND".to_vec(),
        }
    }
}

/// A reason must not look like further fields, nor end the answer early, nor be longer than clients read.
fn failed(reason: &str) -> Vec<u8> {
    let clean: String = reason.chars().map(|c| if c == '|' || c.is_control() { '¦' } else { c }).collect();
    let text = format!("FAILED|{clean}");
    let mut bytes = text.as_bytes()[..text.floor_char_boundary(MAX_ANSWER - 1)].to_vec();
    bytes.push(0);
    bytes
}

/// Reads a request as the port does. For fuzzing.
pub fn fuzz_request(bytes: &[u8]) {
    let _ = is_complete(bytes);
    if let Ok(Request::Register(name) | Request::Heartbeat(name) | Request::Lookup(name)) = parse(bytes) {
        let _ = Answer::Failed { reason: name }.encode();
    }
}
