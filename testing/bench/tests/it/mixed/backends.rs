//! Instances: one server each that speaks HTTP/1.1, HTTP/2, WebSocket and gRPC, or says what it hears.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// Dies with all its connections when it is dropped.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

/// What a backend does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Web,
    Echo,
    Pong,
}

impl Backend {
    pub(crate) async fn start(kind: Kind) -> Backend {
        let mut tasks = JoinSet::new();
        let any = (Ipv4Addr::LOCALHOST, 0);
        if kind == Kind::Pong {
            let socket = UdpSocket::bind(any).await.unwrap();
            let address = socket.local_addr().unwrap();
            tasks.spawn(async move {
                let mut buffer = [0; 2048];
                while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                    let _ = socket.send_to(&buffer[..length], from).await;
                }
            });
            return Backend { address, _tasks: tasks };
        }
        let listener = TcpListener::bind(any).await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let _ = stream.set_nodelay(true);
                connections.spawn(async move {
                    match kind {
                        Kind::Web => web(stream).await,
                        _ => echo(stream).await,
                    }
                });
            }
        });
        Backend { address, _tasks: tasks }
    }
}

async fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}

async fn web(stream: TcpStream) {
    let mut first = [0; 3];
    while stream.peek(&mut first).await.is_ok_and(|count| (1..3).contains(&count)) {
        tokio::task::yield_now().await;
    }
    match &first {
        b"PRI" => two(stream).await,
        _ => one(stream).await.unwrap_or_default(),
    }
}

async fn one(stream: TcpStream) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if read.read_line(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let head = head.to_ascii_lowercase();
        if head.contains("upgrade: websocket") {
            let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            write.write_all(answer.as_bytes()).await.ok()?;
            tokio::io::copy(&mut read, &mut write).await.ok()?;
            return None;
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        read.read_exact(&mut body).await.ok()?;
        let said = if body.is_empty() { vec![b'x'; size(&head)] } else { body };
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", said.len()).into_bytes();
        answer.extend_from_slice(&said);
        write.write_all(&answer).await.ok()?;
    }
}

fn size(head: &str) -> usize {
    if head.starts_with("get /large ") { 100_000 } else { 100 }
}

async fn two(stream: TcpStream) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        while streams.try_join_next().is_some() {}
        streams.spawn(call(request, respond));
    }
}

/// Says each part as it comes, then how it went.
async fn call(request: http::Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let mut body = request.into_body();
    let Ok(mut say) = respond.send_response(Response::new(()), false) else { return };
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        if say.send_data(data, false).is_err() {
            return;
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let _ = say.send_trailers(trailers);
}
