//! etcd's own protocol, gRPC `KV/Put` and `KV/Range`. Its JSON gateway would cost it a second hop that its clients
//! do not pay.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use tokio::net::TcpStream;

/// One HTTP/2 connection; clients that share it clone it.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    put: http::Uri,
    range: http::Uri,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("connect to etcd at {address}"))?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let (sender, connection) = h2::client::handshake(stream).await.context("begin HTTP/2 with etcd")?;
        tokio::spawn(connection);
        let path = |call: &str| -> Result<http::Uri> {
            format!("http://{address}/etcdserverpb.KV/{call}").parse().context("build etcd's path")
        };
        Ok(Connection { sender, put: path("Put")?, range: path("Range")? })
    }

    /// One put, durable when it returns.
    pub(crate) async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.call(self.put.clone(), put_request(key, value)).await.map(drop)
    }

    /// Reads one key, linearizably or, when `serializable`, from what this server has. Bytes of the answer.
    pub(crate) async fn get(&mut self, key: &[u8], serializable: bool) -> Result<usize> {
        self.call(self.range.clone(), range_request(key, serializable)).await
    }

    /// One unary call; bytes of its answer.
    async fn call(&mut self, uri: http::Uri, message: Bytes) -> Result<usize> {
        let request = http::Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .context("build a call")?;
        let mut sender = self.sender.clone().ready().await.context("etcd closed the connection")?;
        let (answer, mut stream) = sender.send_request(request, false).context("send a call")?;
        stream.send_data(message, true).context("send a call's body")?;
        let answer = answer.await.context("etcd's answer")?;
        // A refusal comes with the headers, an answer with the trailers behind its body.
        let refused = answer.headers().get("grpc-status").cloned();
        let mut body = answer.into_body();
        let mut bytes = 0;
        while let Some(data) = body.data().await {
            let length = data.context("read etcd's answer")?.len();
            bytes += length;
            body.flow_control().release_capacity(length).context("release etcd's answer")?;
        }
        let trailers = body.trailers().await.context("read etcd's trailers")?;
        let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status")).or(refused.as_ref());
        ensure!(status.is_some_and(|status| status == "0"), "etcd refused a call: {trailers:?}");
        Ok(bytes)
    }
}

/// gRPC's five-byte frame around `PutRequest { key = 1, value = 2 }`.
fn put_request(key: &[u8], value: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(key.len() + value.len() + 16);
    for (tag, bytes) in [(0x0a, key), (0x12, value)] {
        message.put_u8(tag);
        put_varint(&mut message, bytes.len());
        message.put_slice(bytes);
    }
    frame(&message)
}

/// The same around `RangeRequest { key = 1, serializable = 7 }`.
fn range_request(key: &[u8], serializable: bool) -> Bytes {
    let mut message = BytesMut::with_capacity(key.len() + 8);
    message.put_u8(0x0a);
    put_varint(&mut message, key.len());
    message.put_slice(key);
    if serializable {
        message.put_slice(&[0x38, 1]);
    }
    frame(&message)
}

fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use super::{Connection, put_request, range_request};
    use crate::harness::cores::Cores;
    use crate::load::runtime;
    use crate::subject::etcd::Etcd;

    #[test]
    fn a_real_etcd_takes_it() {
        if let Err(missing) = crate::subject::etcd::program() {
            return println!("{missing}");
        }
        let scratch = tempfile::tempdir().unwrap();
        let etcd = Etcd::start(&Cores::split().unwrap(), scratch.path()).unwrap();
        runtime().unwrap().block_on(async {
            let mut connection = Connection::open(etcd.address).await.unwrap();
            for number in 0..20_u32 {
                connection.put(format!("key-{number}").as_bytes(), &[7; 200]).await.unwrap();
            }
            assert!(connection.put(b"", b"an empty key is refused").await.is_err());
            for serializable in [false, true] {
                assert!(connection.get(b"key-7", serializable).await.unwrap() > 200);
                assert!(connection.get(b"none", serializable).await.unwrap() < 200);
            }
        });
    }

    #[test]
    fn a_put_is_what_protobuf_says() {
        assert_eq!(&put_request(b"k", b"vv")[..], b"\0\0\0\0\x07\x0a\x01k\x12\x02vv");
        assert_eq!(&put_request(b"", &[7; 300])[5..10], b"\x0a\0\x12\xac\x02");
    }

    #[test]
    fn a_range_is_what_protobuf_says() {
        assert_eq!(&range_request(b"k", false)[..], b"\0\0\0\0\x03\x0a\x01k");
        assert_eq!(&range_request(b"k", true)[..], b"\0\0\0\0\x05\x0a\x01k\x38\x01");
    }
}
