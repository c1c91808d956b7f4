//! Clients of every kind, each of which asks again as soon as it was answered.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::tally::Tally;
use crate::daemon::Ports;

/// Longest that anything may take; far from what it takes.
const LIMIT: Duration = Duration::from_secs(30);
/// Between two questions of one client: the machine has other things to do as well.
const PAUSE: Duration = Duration::from_millis(5);

/// All of them.
pub(crate) struct Clients {
    over: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Clients {
    /// Lets them finish what they do.
    pub(crate) async fn stop(mut self) {
        self.over.store(true, Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

type Outcome = Result<(), String>;

pub(crate) fn start(ports: Ports, tally: &Arc<Tally>) -> Clients {
    let mut clients = Clients { over: Arc::default(), tasks: JoinSet::new() };
    for number in 0..4 {
        let path = if number == 0 { "/large" } else { "/" };
        let service = if number == 0 { "steady" } else { ["churny", "routed", "steady"][number % 3] };
        clients.add(tally, "HTTP/1.1", move || Http::new(ports.http, service, path, ""));
        clients.add(tally, "HTTP/2", move || Two { http: ports.http, service, sender: None });
    }
    clients.add(tally, "HTTP/1.1 with a body", move || Http::new(ports.http, "steady", "/post", "some data"));
    clients.add(tally, "the only instance", move || Http::new(ports.http, "only", "/", ""));
    for _ in 0..2 {
        clients.add(tally, "gRPC streams", move || Once(ports.http, grpc));
        clients.add(tally, "WebSockets", move || Once(ports.http, websocket));
        clients.add(tally, "TCP bulk", move || Once(ports.tcp, bulk));
        clients.add(tally, "UDP", move || Once(ports.udp, datagrams));
        clients.add(tally, "DNS", move || Once(ports.dns, name));
    }
    clients
}

/// Something that asks.
trait Ask: Send {
    fn ask(&mut self) -> impl Future<Output = Outcome> + Send;
}

impl Clients {
    fn add<A: Ask + 'static>(&mut self, tally: &Arc<Tally>, kind: &'static str, make: impl FnOnce() -> A) {
        let (mut client, over, tally) = (make(), self.over.clone(), tally.clone());
        self.tasks.spawn(async move {
            while !over.load(Relaxed) {
                let outcome = match timeout(LIMIT, client.ask()).await {
                    Ok(outcome) => outcome,
                    Err(_) => Err("no answer in time".to_owned()),
                };
                tally.note(kind, outcome);
                sleep(PAUSE).await;
            }
        });
    }
}

fn say(what: &str, error: impl std::fmt::Display) -> String {
    format!("{what}: {error}")
}

/// Requests on a kept connection, written by hand so that nothing is asked twice unseen.
struct Http {
    http: SocketAddr,
    request: String,
    stream: Option<TcpStream>,
}

impl Http {
    fn new(http: SocketAddr, host: &str, path: &str, body: &str) -> Http {
        let request = match body {
            "" => format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            body => format!(
                "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        };
        Http { http, request, stream: None }
    }
}

impl Ask for Http {
    async fn ask(&mut self) -> Outcome {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.http).await.map_err(|e| say("connect", e))?,
        };
        stream.write_all(self.request.as_bytes()).await.map_err(|e| say("ask", e))?;
        let (head, _) = answer(&mut stream).await?;
        // A refusal may end the connection; anything else keeps it.
        if !head.to_ascii_lowercase().contains("connection: close") {
            self.stream = Some(stream);
        }
        if head.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(head) }
    }
}

pub(crate) async fn answer(stream: &mut TcpStream) -> Result<(String, Vec<u8>), String> {
    let (mut held, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    loop {
        let count = stream.read(&mut buffer).await.map_err(|e| say("read an answer", e))?;
        if count == 0 {
            return Err(format!("the connection ended: {}", String::from_utf8_lossy(&held)));
        }
        held.extend_from_slice(&buffer[..count]);
        let Some(end) = held.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&held[..end]).into_owned();
        let length =
            |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.trim().parse().ok();
        let length: usize = head.lines().find_map(length).unwrap_or(0);
        let mut body = held.split_off(end + 4);
        let come = body.len();
        body.resize(length.max(come), 0);
        stream.read_exact(&mut body[come..]).await.map_err(|e| say("read a body", e))?;
        return Ok((head, body));
    }
}

/// Requests on a kept HTTP/2 connection.
struct Two {
    http: SocketAddr,
    service: &'static str,
    sender: Option<h2::client::SendRequest<Bytes>>,
}

async fn connect_two(http: SocketAddr) -> Result<h2::client::SendRequest<Bytes>, String> {
    let stream = TcpStream::connect(http).await.map_err(|e| say("connect", e))?;
    let (sender, connection) = h2::client::handshake(stream).await.map_err(|e| say("shake hands", e))?;
    tokio::spawn(async move {
        // Its end shows in the requests.
        let _ = connection.await;
    });
    Ok(sender)
}

impl Ask for Two {
    async fn ask(&mut self) -> Outcome {
        if self.sender.is_none() {
            self.sender = Some(connect_two(self.http).await?);
        }
        let sender = self.sender.clone().ok_or("no connection")?;
        let outcome = async {
            let mut sender = sender.ready().await.map_err(|e| say("get ready", e))?;
            let request = Request::get(format!("http://{}/", self.service)).body(());
            let (response, _) = sender
                .send_request(request.map_err(|e| say("make a request", e))?, true)
                .map_err(|e| say("ask", e))?;
            let response = response.await.map_err(|e| say("hear", e))?;
            let status = response.status();
            let mut body = response.into_body();
            let mut length = 0;
            while let Some(data) = body.data().await {
                let data = data.map_err(|e| say("read a body", e))?;
                length += data.len();
                let _ = body.flow_control().release_capacity(data.len());
            }
            if status == 200 && length > 0 { Ok(()) } else { Err(format!("{status}, {length} bytes")) }
        };
        let outcome = outcome.await;
        if outcome.is_err() {
            self.sender = None;
        }
        outcome
    }
}

/// Something that begins anew each time.
struct Once<F>(SocketAddr, F);

impl<F, Asking> Ask for Once<F>
where
    F: Fn(SocketAddr) -> Asking + Send,
    Asking: Future<Output = Outcome> + Send,
{
    async fn ask(&mut self) -> Outcome {
        (self.1)(self.0).await
    }
}

/// A call in which each side says something in its turn, ten times.
async fn grpc(http: SocketAddr) -> Outcome {
    let sender = connect_two(http).await?;
    let mut sender = sender.ready().await.map_err(|e| say("get ready", e))?;
    let request = Request::post("http://calls/pkg.Service/Call")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(|e| say("make a request", e))?;
    let (response, mut tell) = sender.send_request(request, false).map_err(|e| say("ask", e))?;
    let mut body = None;
    let mut response = Some(response);
    for number in 0..10u8 {
        tell.send_data(Bytes::from(vec![number; 500]), false).map_err(|e| say("tell", e))?;
        if let Some(response) = response.take() {
            body = Some(response.await.map_err(|e| say("hear", e))?.into_body());
        }
        let body = body.as_mut().ok_or("no body")?;
        let mut heard = 0;
        while heard < 500 {
            let data = body.data().await.ok_or("the call ended early")?.map_err(|e| say("hear on", e))?;
            heard += data.len();
            let _ = body.flow_control().release_capacity(data.len());
        }
        sleep(Duration::from_millis(20)).await;
    }
    tell.send_data(Bytes::new(), true).map_err(|e| say("finish", e))?;
    let body = body.as_mut().ok_or("no body")?;
    while let Some(data) = body.data().await {
        data.map_err(|e| say("hear the end", e))?;
    }
    let trailers = body.trailers().await.map_err(|e| say("hear trailers", e))?.ok_or("no trailers")?;
    if trailers["grpc-status"] == "0" { Ok(()) } else { Err(format!("{trailers:?}")) }
}

/// Twenty messages there and back.
async fn websocket(http: SocketAddr) -> Outcome {
    let mut stream = TcpStream::connect(http).await.map_err(|e| say("connect", e))?;
    let request = "GET /chat HTTP/1.1\r\nHost: calls\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.map_err(|e| say("ask", e))?;
    let (head, _) = answer(&mut stream).await?;
    if !head.starts_with("HTTP/1.1 101 ") {
        return Err(head);
    }
    // A binary message of 100 bytes, masked with zeros.
    let mut frame = vec![0x82, 0x80 | 100, 0, 0, 0, 0];
    frame.resize(6 + 100, b'm');
    for _ in 0..20 {
        stream.write_all(&frame).await.map_err(|e| say("say", e))?;
        let mut heard = vec![0; frame.len()];
        stream.read_exact(&mut heard).await.map_err(|e| say("hear", e))?;
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Four megabytes there and back.
async fn bulk(tcp: SocketAddr) -> Outcome {
    const ALL: usize = 4 << 20;
    let stream = TcpStream::connect(tcp).await.map_err(|e| say("connect", e))?;
    let (mut read, mut write) = stream.into_split();
    let sending = tokio::spawn(async move {
        write.write_all(&vec![b'b'; ALL]).await?;
        write.shutdown().await
    });
    let (mut buffer, mut heard) = (vec![0; 64 * 1024], 0);
    loop {
        match read.read(&mut buffer).await.map_err(|e| say("hear", e))? {
            0 => break,
            count => heard += count,
        }
    }
    sending.await.map_err(|e| say("send", e))?.map_err(|e| say("send", e))?;
    if heard == ALL { Ok(()) } else { Err(format!("{heard} of {ALL} bytes came back")) }
}

/// Ten datagrams there and back; one that is lost is sent again, as its protocol would.
async fn datagrams(udp: SocketAddr) -> Outcome {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|e| say("bind", e))?;
    socket.connect(udp).await.map_err(|e| say("connect", e))?;
    for number in 0..10u8 {
        exchange(&socket, &[number; 64], |heard| heard == [number; 64]).await?;
    }
    Ok(())
}

async fn exchange(socket: &UdpSocket, said: &[u8], fits: impl Fn(&[u8]) -> bool) -> Outcome {
    let mut buffer = [0; 2048];
    for _ in 0..5 {
        socket.send(said).await.map_err(|e| say("send", e))?;
        let hear = async {
            loop {
                match socket.recv(&mut buffer).await {
                    Ok(count) if fits(&buffer[..count]) => return,
                    _ => {}
                }
            }
        };
        if timeout(Duration::from_secs(2), hear).await.is_ok() {
            return Ok(());
        }
    }
    Err("no answer to any of five".to_owned())
}

/// The address of a service that always has some.
async fn name(dns: SocketAddr) -> Outcome {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|e| say("bind", e))?;
    socket.connect(dns).await.map_err(|e| say("connect", e))?;
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in ["churny", "service", "consul"] {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    // An answer, without an error, and with a record in it.
    let good = |heard: &[u8]| heard.len() > 12 && heard[2] & 0x80 != 0 && heard[3] & 15 == 0 && heard[7] > 0;
    exchange(&socket, &query, good).await
}
