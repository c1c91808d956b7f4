//! Messages on a stream: a length of four bytes, big-endian, then as many bytes.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest frame anywhere, in bytes.
pub const LONGEST: usize = 16 << 20;

/// Memory set aside at once for a frame that was only announced.
const STEP: usize = 64 << 10;

/// Reads a frame of at most `longest` bytes; `None` when the stream ends between frames.
///
/// Memory grows with what has arrived, never with what was announced.
///
/// # Errors
/// A longer frame ([`io::ErrorKind::InvalidData`]), a stream that ends inside one, or the stream's own error.
pub async fn read<R: AsyncRead + Unpin>(from: &mut R, longest: usize) -> io::Result<Option<Bytes>> {
    let mut head = [0; 4];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    let length = u32::from_be_bytes(head) as usize;
    if length > longest {
        let text = format!("a frame of {length} bytes was announced; at most {longest} are allowed here");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut frame = BytesMut::with_capacity(length.min(STEP));
    while frame.len() < length {
        let missing = length - frame.len();
        frame.reserve(missing.min(STEP.max(frame.len())));
        let room = frame.capacity() - frame.len();
        if from.take(missing.min(room) as u64).read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(frame.freeze()))
}

/// Writes a frame. Does not flush.
///
/// # Errors
/// A frame above [`LONGEST`], or the stream's own error.
pub async fn write<W: AsyncWrite + Unpin>(to: &mut W, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).ok().filter(|_| frame.len() <= LONGEST).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("a frame of {} bytes is too long", frame.len()))
    })?;
    to.write_all(&length.to_be_bytes()).await?;
    to.write_all(frame).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_back_as_they_were_written() {
        let mut bytes = Vec::new();
        let frames: [&[u8]; 3] = [b"", b"one", &[7; 200_000]];
        for frame in frames {
            write(&mut bytes, frame).await.unwrap();
        }
        let mut from = &bytes[..];
        for frame in frames {
            assert_eq!(read(&mut from, LONGEST).await.unwrap().unwrap(), frame);
        }
        assert!(read(&mut from, LONGEST).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_announced_is_not_believed() {
        let mut bytes = u32::MAX.to_be_bytes().to_vec();
        assert_eq!(read(&mut &bytes[..], LONGEST).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        bytes = 10u32.to_be_bytes().to_vec();
        bytes.extend_from_slice(b"nine bytes"[..9].as_ref());
        assert_eq!(read(&mut &bytes[..], LONGEST).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(
            write(&mut Vec::new(), &vec![0; LONGEST + 1]).await.unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
