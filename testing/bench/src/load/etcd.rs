//! etcd's own protocol, gRPC `KV/Put`. Its JSON gateway would cost it a second hop that its clients do not pay.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use tokio::net::TcpStream;

/// One HTTP/2 connection; clients that share it clone it.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    uri: http::Uri,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("connect to etcd at {address}"))?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let (sender, connection) = h2::client::handshake(stream).await.context("begin HTTP/2 with etcd")?;
        tokio::spawn(connection);
        let uri = format!("http://{address}/etcdserverpb.KV/Put").parse().context("build etcd's path")?;
        Ok(Connection { sender, uri })
    }

    /// One put, durable when it returns.
    pub(crate) async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let request = http::Request::post(self.uri.clone())
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .context("build a put")?;
        let mut sender = self.sender.clone().ready().await.context("etcd closed the connection")?;
        let (answer, mut stream) = sender.send_request(request, false).context("send a put")?;
        stream.send_data(put_request(key, value), true).context("send a put's body")?;
        let answer = answer.await.context("etcd's answer")?;
        // A refusal comes with the headers, an answer to a put with the trailers behind its body.
        let refused = answer.headers().get("grpc-status").cloned();
        let mut body = answer.into_body();
        while let Some(data) = body.data().await {
            let length = data.context("read etcd's answer")?.len();
            body.flow_control().release_capacity(length).context("release etcd's answer")?;
        }
        let trailers = body.trailers().await.context("read etcd's trailers")?;
        let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status")).or(refused.as_ref());
        ensure!(status.is_some_and(|status| status == "0"), "etcd refused a put: {trailers:?}");
        Ok(())
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
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
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
    use super::{Connection, put_request};
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
        });
    }

    #[test]
    fn a_put_is_what_protobuf_says() {
        assert_eq!(&put_request(b"k", b"vv")[..], b"\0\0\0\0\x07\x0a\x01k\x12\x02vv");
        assert_eq!(&put_request(b"", &[7; 300])[5..10], b"\x0a\0\x12\xac\x02");
    }
}
