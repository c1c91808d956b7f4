//! Smuggling: hundreds of connections that two servers could read in two ways, sent to a strict service. What arrives
//! is what a careful reader finds in them, in this order, or its beginning; never a request more. The same connections
//! with and without the short way for plain requests have the same effect.

mod answers;
mod corpus;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use crate::echo::serve;
use crate::harness::{Harness, Instance, config};
use corpus::Case;

/// What arrived, by the case's number: method, rest of the path, body.
type Arrived = Arc<Mutex<HashMap<usize, Vec<(String, String, String)>>>>;

/// A request, read as strictly as can be. `Err` says what is wrong with it; `None` is an end, also in the middle.
async fn strict(read: &mut BufReader<OwnedReadHalf>) -> Result<Option<(String, String, String)>, String> {
    let mut lines: Vec<String> = Vec::new();
    loop {
        let mut line = Vec::new();
        if read.read_until(b'\n', &mut line).await.unwrap_or(0) == 0 || !line.ends_with(b"\n") {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        let line = line.strip_suffix("\r\n").ok_or_else(|| format!("a bare end: {line:?}"))?;
        if line.contains(|c: char| c.is_ascii_control() && c != '\t') {
            return Err(format!("a control character: {line:?}"));
        }
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let mut parts = lines.first().ok_or("an empty head")?.split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(format!("a request line: {:?}", lines[0]));
    };
    let mut fields: HashMap<String, Vec<&str>> = HashMap::new();
    for line in &lines[1..] {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("a field: {line:?}"))?;
        let is_token = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        if name.is_empty() || !is_token || name.contains('_') && name.len() > 12 {
            return Err(format!("a field's name: {line:?}"));
        }
        fields.entry(name.to_ascii_lowercase()).or_default().push(value.trim());
    }
    if fields.get("host").map_or(0, Vec::len) != 1 || fields.contains_key("x-a") {
        return Err(format!("hosts, or a field of the connection: {lines:?}"));
    }
    let body =
        match (fields.get("content-length").map(|v| &v[..]), fields.get("transfer-encoding").map(|v| &v[..]))
        {
            (None, None) => Ok(Some(Vec::new())),
            (Some([length]), None) => {
                let mut body = vec![0; length.parse().map_err(|_| format!("a length: {length:?}"))?];
                Ok(read.read_exact(&mut body).await.ok().map(|_| body))
            }
            (None, Some(["chunked"])) => strict_chunks(read).await,
            other => Err(format!("framing: {other:?}")),
        }?;
    let text = |body: Vec<u8>| String::from_utf8_lossy(&body).into_owned();
    Ok(body.map(|body| (method.to_owned(), target.to_owned(), text(body))))
}

async fn strict_chunks(read: &mut BufReader<OwnedReadHalf>) -> Result<Option<Vec<u8>>, String> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        if read.read_line(&mut line).await.unwrap_or(0) == 0 {
            return Ok(None);
        }
        let size = line.strip_suffix("\r\n").ok_or_else(|| format!("a chunk's end: {line:?}"))?;
        let size = size.split(';').next().unwrap_or_default().trim_end();
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("a chunk: {line:?}"))?;
        if size == 0 {
            break;
        }
        let mut chunk = vec![0; size + 2];
        if read.read_exact(&mut chunk).await.is_err() {
            return Ok(None);
        }
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk that does not end where it says".into());
        }
        body.extend_from_slice(&chunk[..size]);
    }
    loop {
        let mut line = String::new();
        match read.read_line(&mut line).await {
            Ok(2) if line == "\r\n" => return Ok(Some(body)),
            Ok(1..) if line.ends_with("\r\n") => {}
            _ => return Ok(None),
        }
    }
}

/// Sends all cases at once; what arrived of each.
async fn send_all(cases: &[Case], fast: bool) -> HashMap<usize, Vec<(String, String, String)>> {
    let (arrived, wrong) = (Arrived::default(), Arc::new(Mutex::new(Vec::<String>::new())));
    let (into, complaints) = (arrived.clone(), wrong.clone());
    let server = serve(move |stream| {
        let (into, complaints) = (into.clone(), complaints.clone());
        async move {
            let (read, mut write) = stream.into_split();
            let mut read = BufReader::new(read);
            loop {
                match strict(&mut read).await {
                    Ok(Some((method, target, body))) => {
                        let rest = target.strip_prefix("/c").unwrap_or("x").split_once('/');
                        let (number, rest) = rest.unwrap_or((&target, ""));
                        let seen = (method, format!("/{rest}"), body);
                        into.lock()
                            .unwrap()
                            .entry(number.parse().unwrap_or(usize::MAX))
                            .or_default()
                            .push(seen);
                    }
                    Ok(None) => return,
                    Err(complaint) => return complaints.lock().unwrap().push(complaint),
                }
                if write.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let mut config = config();
    config.http.fast = fast;
    // Those who leave us waiting are let go soon.
    config.http.head_timeout = Duration::from_secs(2);
    config.http.stall_timeout = Duration::from_secs(2);
    config.http.idle_timeout = Duration::from_secs(4);
    let harness = Harness::with(config).await;
    harness.register("web", Instance::at(server.address));
    let clients = cases.iter().enumerate().map(|(number, case)| {
        let path = format!("/c{number}");
        let at = harness.http;
        let bytes: Vec<u8> = case.bytes.split(|byte| *byte == b'@').collect::<Vec<_>>().join(path.as_bytes());
        async move {
            let mut client = TcpStream::connect(at).await.unwrap();
            // It may close before it has read everything.
            let _ = client.write_all(&bytes).await;
            let mut answers = Vec::new();
            let reading = client.read_to_end(&mut answers);
            let _ = tokio::time::timeout(Duration::from_secs(60), reading).await.expect("the proxy closes");
        }
    });
    futures_util::future::join_all(clients).await;
    let way = if fast { "the short way" } else { "hyper's way" };
    let wrong = wrong.lock().unwrap().clone();
    assert!(wrong.is_empty(), "arrived by {way}: {wrong:#?}");
    harness.stop().await;
    let arrived = arrived.lock().unwrap().clone();
    let mut undue = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let none = Vec::new();
        let seen: Vec<_> = arrived.get(&number).unwrap_or(&none).iter().map(borrowed).collect();
        let due = if case.must { seen == case.may } else { case.may.starts_with(&seen) };
        if !due {
            undue.push(format!("{}: {seen:?} arrived, {:?} was due", case.what, case.may));
        }
    }
    assert!(undue.is_empty(), "by {way}: {undue:#?}");
    assert!(!arrived.contains_key(&usize::MAX), "what belongs to no case: {:?}", arrived.get(&usize::MAX));
    arrived
}

fn borrowed((method, path, body): &(String, String, String)) -> (&str, &str, &str) {
    (method, path, body)
}

#[tokio::test]
async fn one_request_in_is_at_most_one_out() {
    let cases = corpus::all();
    assert!(cases.len() >= 200, "{} cases", cases.len());
    let (by_hand, by_hyper) = (send_all(&cases, true).await, send_all(&cases, false).await);
    assert_eq!(by_hand, by_hyper);
    println!("{} connections, each both ways", cases.len());
}
