//! The last frame (RFC 6455, sections 5.5.1 and 7.4).

use super::decoder::Fault;

/// Why an end closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// Code; `None` when it gave none.
    pub code: Option<u16>,
    /// For people, at most 123 bytes.
    pub reason: String,
}

impl Closing {
    /// All is said.
    pub const NORMAL: u16 = 1000;
    /// The node goes.
    pub const GOING_AWAY: u16 = 1001;
    /// The rules do not allow it.
    pub const POLICY: u16 = 1008;
    /// Something went wrong here.
    pub const INTERNAL: u16 = 1011;

    /// What a frame holds.
    ///
    /// # Errors
    /// [`Fault::HalfCode`], [`Fault::CloseCode`], [`Fault::Utf8`].
    pub fn read(payload: &[u8]) -> Result<Closing, Fault> {
        match payload {
            [] => Ok(Closing { code: None, reason: String::new() }),
            [_] => Err(Fault::HalfCode),
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                // 1004 to 1006 and 1015 are never sent; below 3000 the rest is kept for later versions.
                if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                    return Err(Fault::CloseCode(code));
                }
                let reason = std::str::from_utf8(reason).map_err(|_| Fault::Utf8)?;
                Ok(Closing { code: Some(code), reason: reason.to_owned() })
            }
        }
    }

    /// Payload of a frame; the reason is cut at a character where it is too long.
    pub fn payload(code: u16, reason: &str) -> Vec<u8> {
        let end = (0..=reason.len().min(123)).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(&reason.as_bytes()[..end]);
        payload
    }
}
