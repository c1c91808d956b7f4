//! What a client would do: ask DNS, send bytes, send an HTTP request.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, Rtype};
use domain::rdata::{A, Srv};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// Longest that one question may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The addresses behind a name; none when there is no such name.
pub(super) async fn addresses(dns: SocketAddr, name: &str) -> anyhow::Result<Option<Vec<Ipv4Addr>>> {
    let answer = query(dns, name, Rtype::A).await?;
    let records = answer.answer().context("read the DNS answer")?.limit_to::<A>();
    let found =
        records.map(|record| record.map(|record| record.data().addr())).collect::<Result<Vec<_>, _>>();
    Ok(exists(&answer, name)?.then_some(found.context("read the DNS answer")?))
}

/// The ports behind a name, from its SRV records, in order.
pub(super) async fn ports(dns: SocketAddr, name: &str) -> anyhow::Result<Vec<u16>> {
    let answer = query(dns, name, Rtype::SRV).await?;
    let records = answer.answer().context("read the DNS answer")?.limit_to::<Srv<_>>();
    let found =
        records.map(|record| record.map(|record| record.data().port())).collect::<Result<Vec<_>, _>>();
    let mut ports = found.context("read the DNS answer")?;
    ports.sort_unstable();
    Ok(ports)
}

fn exists(answer: &Message<Vec<u8>>, name: &str) -> anyhow::Result<bool> {
    match answer.header().rcode() {
        Rcode::NOERROR => Ok(true),
        Rcode::NXDOMAIN => Ok(false),
        other => bail!("DNS answered {other} for {name}"),
    }
}

/// One question by UDP.
async fn query(dns: SocketAddr, name: &str, rtype: Rtype) -> anyhow::Result<Message<Vec<u8>>> {
    let parsed = Name::<Vec<u8>>::from_str(name).with_context(|| format!("write {name} as a DNS name"))?;
    let mut question = MessageBuilder::new_vec().question();
    question.header_mut().set_id(fastrand::u16(..));
    question.header_mut().set_rd(true);
    question.push((parsed, rtype)).map_err(|cause| anyhow!(cause.to_string()))?;
    let question = question.into_message();
    let ask = async {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        socket.connect(dns).await?;
        socket.send(question.as_slice()).await?;
        let mut answer = vec![0; 1232];
        let length = socket.recv(&mut answer).await?;
        answer.truncate(length);
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, ask).await.context("no answer in time")?;
    let answer = answer.with_context(|| format!("ask {dns} for {name}"))?;
    let answer = Message::from_octets(answer).map_err(|_| anyhow!("the DNS answer is too short"))?;
    if answer.header().id() != question.header().id() {
        bail!("the DNS answer belongs to another question");
    }
    Ok(answer)
}

/// Connects, sends, ends, and reads to the end.
pub(super) async fn exchange(address: SocketAddr, bytes: &[u8]) -> anyhow::Result<String> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await?;
        Ok::<_, std::io::Error>(heard)
    };
    let heard = tokio::time::timeout(PATIENCE, talk).await.context("no answer in time")?;
    heard.with_context(|| format!("talk to {address}"))
}

/// One HTTP request through the proxy: the body of a 200.
pub(super) async fn http(proxy: SocketAddr, host: &str) -> anyhow::Result<String> {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let talk = async {
        let mut stream = TcpStream::connect(proxy).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await?;
        Ok::<_, std::io::Error>(heard)
    };
    let heard = tokio::time::timeout(PATIENCE, talk).await.context("no answer in time")?;
    let heard = heard.with_context(|| format!("ask {proxy} for http://{host}/"))?;
    let (head, body) = heard.split_once("\r\n\r\n").context("the answer has no head")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.trim().to_owned()),
        _ => bail!("http://{host}/ was answered \"{}\"", head.lines().next().unwrap_or("")),
    }
}
