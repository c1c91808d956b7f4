//! What nodes say to each other about life: MessagePack by serde, one message a frame.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Longest message, in bytes: a report on as many nodes as a cluster may have.
pub(super) const MOST_BYTES: usize = 4 << 20;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// I live, in this boot epoch.
    Beat { epoch: u64 },
    /// Whom this server heard: name, boot epoch, milliseconds ago.
    Report(Vec<(String, u64, u64)>),
    /// Try this node for me.
    Probe { target: String },
    /// I tried.
    Probed { target: String, is_alive: bool },
}

impl Message {
    pub(super) fn encode(&self) -> Bytes {
        // Nothing in it cannot be encoded; an empty frame would be dropped by the other side.
        rmp_serde::to_vec(self).map(Bytes::from).unwrap_or_default()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Message> {
        if bytes.len() > MOST_BYTES {
            return None;
        }
        rmp_serde::from_slice(bytes).ok()
    }
}

/// For fuzzers: reads any bytes as a message.
pub fn fuzz_message(bytes: &[u8]) {
    if let Some(message) = Message::decode(bytes) {
        assert_eq!(Message::decode(&message.encode()), Some(message));
    }
}
