//! Bytes of frames and batches: MessagePack by serde.
//!
//! Lengths inside the bytes are never trusted for an allocation (serde caps what it reserves ahead), so the
//! memory that decoding takes is bounded by the length of the input. Bounding that is the carrier's part.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::Frame;
use crate::write::Batch;

/// What can be wrong with bytes.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The encoder gave up.
    #[error("encode for the wire")]
    Encode(#[source] rmp_serde::encode::Error),
    /// The bytes are not what they should be.
    #[error("decode {length} bytes from the wire")]
    Decode {
        /// Length of the input.
        length: usize,
        /// Why not.
        #[source]
        cause: rmp_serde::decode::Error,
    },
    /// Bytes were left over.
    #[error("decode {length} bytes from the wire: {left} bytes follow the end")]
    Trailing {
        /// Length of the input.
        length: usize,
        /// How many were not read.
        left: usize,
    },
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, WireError> {
    rmp_serde::to_vec(value).map_err(WireError::Encode)
}

pub(crate) fn encode_onto<T: Serialize>(out: &mut Vec<u8>, value: &T) -> Result<(), WireError> {
    rmp_serde::encode::write(out, value).map_err(WireError::Encode)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let mut rest = bytes;
    let mut reader = rmp_serde::Deserializer::new(&mut rest);
    let value =
        T::deserialize(&mut reader).map_err(|cause| WireError::Decode { length: bytes.len(), cause })?;
    match rest.len() {
        0 => Ok(value),
        left => Err(WireError::Trailing { length: bytes.len(), left }),
    }
}

/// Decodes anything a peer could send; for fuzzers.
pub fn fuzz_frame(bytes: &[u8]) {
    if let Ok(frame) = Frame::decode(bytes) {
        let _ = frame.cost();
    }
}

/// Decodes anything a disk could hold; for fuzzers.
pub fn fuzz_batch(bytes: &[u8]) {
    let _ = Batch::decode(bytes);
}
