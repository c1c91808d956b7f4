//! The few bytes of protobuf and gRPC framing that four messages of strings need.
//!
//! Encoding: proto3, every field a string or a bool with a number below 16, as in GOST's `proto.SD` and
//! `proto.Ingress`. Unknown fields are skipped, as proto3 asks.

use bytes::{BufMut, Bytes, BytesMut};

use crate::discovery::Tunnel;

/// String fields of a message by number; of a field that comes twice the last holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(u64, Vec<u8>)>);

/// Takes a gRPC message out of its frame (gRPC over HTTP/2, "Length-Prefixed-Message").
///
/// # Errors
/// One sentence.
pub(crate) fn unframe(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let (head, body) = bytes.split_at_checked(5).ok_or("the message is shorter than its frame")?;
    if head[0] != 0 {
        return Err("compressed messages are not accepted");
    }
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length != body.len() {
        return Err("the frame's length is not the message's, and only one message is expected");
    }
    Ok(body)
}

/// Puts a message into a frame.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    framed.freeze()
}

impl Fields {
    /// Reads a message.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn read(mut bytes: &[u8]) -> Result<Fields, &'static str> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes)?;
            match tag & 7 {
                0 => drop(varint(&mut bytes)?),
                1 => drop(take(&mut bytes, 8)?),
                2 => {
                    let length = usize::try_from(varint(&mut bytes)?).map_err(|_| TRUNCATED)?;
                    fields.push((tag >> 3, take(&mut bytes, length)?.to_vec()));
                }
                5 => drop(take(&mut bytes, 4)?),
                _ => return Err("a field has an unknown wire type"),
            }
        }
        Ok(Fields(fields))
    }

    /// Bytes of a field, empty when absent.
    pub(crate) fn bytes(&self, number: u64) -> &[u8] {
        let last = self.0.iter().rev().find(|(other, _)| *other == number);
        last.map_or(&[], |(_, value)| value)
    }

    /// Text of a field, empty when absent.
    ///
    /// # Errors
    /// One sentence, when it is not UTF-8.
    pub(crate) fn text(&self, number: u64) -> Result<String, &'static str> {
        let text = std::str::from_utf8(self.bytes(number)).map_err(|_| "a string is not UTF-8")?;
        Ok(text.to_owned())
    }

    /// The `Service` inside field 1.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn tunnel(&self) -> Result<Tunnel, &'static str> {
        let service = Fields::read(self.bytes(1))?;
        Ok(Tunnel {
            id: service.text(1)?,
            name: service.text(2)?,
            node: service.text(3)?,
            network: service.text(4)?,
            address: service.text(5)?,
        })
    }
}

const TRUNCATED: &str = "the message ends in the middle of a field";

fn varint(bytes: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(TRUNCATED)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number is longer than ten bytes")
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], &'static str> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or(TRUNCATED)?;
    *bytes = rest;
    Ok(taken)
}

fn put(message: &mut Vec<u8>, number: u8, value: &[u8]) {
    message.push(number << 3 | 2);
    let mut length = value.len();
    while length >= 0x80 {
        message.push(length as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(value);
}

/// `ok` as field 1.
pub(crate) fn ok(ok: bool) -> Vec<u8> {
    if ok { vec![0x08, 1] } else { Vec::new() }
}

/// A string as field 1.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !text.is_empty() {
        put(&mut message, 1, text.as_bytes());
    }
    message
}

/// `GetServiceReply`.
pub(crate) fn services(tunnels: &[Tunnel]) -> Vec<u8> {
    let mut message = Vec::new();
    for tunnel in tunnels {
        let mut service = Vec::new();
        let fields = [&tunnel.id, &tunnel.name, &tunnel.node, &tunnel.network, &tunnel.address];
        for (number, field) in (1..).zip(fields).filter(|(_, field)| !field.is_empty()) {
            put(&mut service, number, field.as_bytes());
        }
        put(&mut message, 1, &service);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_comes_back_as_it_was_sent() {
        let tunnel = Tunnel {
            id: "i".repeat(300),
            name: "name".into(),
            node: "node".into(),
            network: "".into(),
            address: "10.42.0.100:80".into(),
        };
        let fields = Fields::read(&services(std::slice::from_ref(&tunnel))).unwrap();
        assert_eq!(fields.tunnel().unwrap(), tunnel);
    }

    #[test]
    fn unknown_fields_are_skipped_and_cut_messages_refused() {
        let message = [0x78, 0x96, 0x01, 0x0a, 0x02, b'h', b'i', 0x7d, 0, 0, 0, 0];
        assert_eq!(Fields::read(&message).unwrap().text(1).unwrap(), "hi");
        for cut in [1, 2, 4, 5, 6, 9] {
            assert!(Fields::read(&message[..cut]).is_err(), "{cut}");
        }
    }
}
