//! A backend that is nobody's framework: it answers every request with its own name.

use std::io::{BufRead, BufReader, Write};
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
    let mut head = BufReader::new(stream).lines();
    let target = head.next().transpose()?.unwrap_or_default();
    while head.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
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
