//! A backend that is nobody's framework: it answers every request with its own name.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A small HTTP/1.1 server on a port of its own; it ends with the value.
pub struct Web {
    /// Its port.
    pub port: u16,
    stop: Arc<AtomicBool>,
}

impl Web {
    /// Serves `name` as the body of every answer, and Prometheus' text form at `/metrics`.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(name: &str) -> std::io::Result<Web> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let stop = Arc::new(AtomicBool::new(false));
        let (name, stopped) = (name.to_owned(), stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let name = name.clone();
                std::thread::spawn(move || drop(answer(&stream, &name)));
            }
        });
        Ok(Web { port, stop })
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, which then closes the listener.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn answer(mut stream: &TcpStream, name: &str) -> std::io::Result<()> {
    let mut from = BufReader::new(stream);
    let target = line(&mut from)?;
    let fields = block(&mut from)?;
    let field = |name: &str| fields.iter().find_map(|field| field.strip_prefix(name)).map(str::trim);
    // To its end: whoever answers before says what it thinks of half a request.
    if field("transfer-encoding:") == Some("chunked") {
        chunks(&mut from)?;
    } else if let Some(length) = field("content-length:").and_then(|length| length.parse().ok()) {
        std::io::copy(&mut from.by_ref().take(length), &mut std::io::sink())?;
    }
    let body = match target.contains("/metrics") {
        true => format!("# TYPE conformance_up gauge\nconformance_up{{instance_name=\"{name}\"}} 1\n"),
        false => name.to_owned(),
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn line(from: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    match from.read_line(&mut line)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}

/// Lines up to an empty one, in lower case.
fn block(from: &mut impl BufRead) -> std::io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        match line(from)? {
            end if end.is_empty() => return Ok(lines),
            line => lines.push(line.to_ascii_lowercase()),
        }
    }
}

fn chunks(from: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let size = u64::from_str_radix(&line(from)?, 16).map_err(std::io::Error::other)?;
        if size == 0 {
            return block(from).map(drop);
        }
        std::io::copy(&mut from.by_ref().take(size), &mut std::io::sink())?;
        line(from)?;
    }
}
