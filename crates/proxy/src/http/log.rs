//! The access log: a line of JSON for each request, written by a thread of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::header::{HeaderMap, REFERER, USER_AGENT};
use serde::Serialize;

use crate::metrics::Metrics;

/// Lines that may wait. When the disk is slower than that, lines are dropped and counted: requests do not wait.
const WAITING: usize = 8192;

/// Where lines go.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    lines: SyncSender<Vec<u8>>,
    metrics: Metrics,
}

impl Log {
    /// Opens a file to append to, and begins to write.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn open(path: &Path, metrics: &Metrics) -> io::Result<Arc<Log>> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let (lines, waiting) = sync_channel(WAITING);
        std::thread::Builder::new().name("access-log".into()).spawn(move || write(file, &waiting))?;
        Ok(Arc::new(Log { path: path.to_owned(), lines, metrics: metrics.clone() }))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn put(&self, line: &Line<'_>) {
        let Ok(mut line) = serde_json::to_vec(line) else { return };
        line.push(b'\n');
        if self.lines.try_send(line).is_err() {
            self.metrics.log_dropped.inc();
        }
    }
}

/// Writes until nobody can send any more; what waits together is written together.
fn write(file: File, waiting: &Receiver<Vec<u8>>) {
    let mut file = BufWriter::with_capacity(64 * 1024, file);
    while let Ok(line) = waiting.recv() {
        let mut written = file.write_all(&line);
        while let Ok(line) = waiting.try_recv() {
            written = written.and_then(|()| file.write_all(&line));
        }
        if let Err(cause) = written.and_then(|()| file.flush()) {
            tracing::error!(%cause, "cannot write the access log");
        }
    }
}

/// One line. Fields that are not known are left out.
#[derive(Serialize)]
struct Line<'a> {
    /// Seconds since 1970, when the request came.
    time: f64,
    client: IpAddr,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    status: u16,
    /// Of the answer's body.
    bytes: u64,
    /// From the request's head to the end of the answer.
    seconds: f64,
    /// False when the answer broke off.
    whole: bool,
}

/// What is noted of a request until it is over; then the line is written.
pub(crate) struct Entry {
    log: Arc<Log>,
    begun: Instant,
    time: f64,
    client: IpAddr,
    method: http::Method,
    host: String,
    path: String,
    version: http::Version,
    user_agent: Option<String>,
    referer: Option<String>,
    pub(crate) service: Option<Arc<str>>,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) whole: bool,
}

impl Entry {
    /// Notes a request as it came.
    pub(crate) fn new<B>(log: Arc<Log>, client: IpAddr, request: &http::Request<B>) -> Entry {
        let text = |headers: &HeaderMap, name| {
            headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let headers = request.headers();
        let of_uri = request.uri().authority().map(|authority| authority.as_str().to_owned());
        Entry {
            log,
            begun: Instant::now(),
            time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
            client,
            method: request.method().clone(),
            host: text(headers, http::header::HOST).or(of_uri).unwrap_or_default(),
            path: request.uri().path_and_query().map_or("", |path| path.as_str()).to_owned(),
            version: request.version(),
            user_agent: text(headers, USER_AGENT),
            referer: text(headers, REFERER),
            service: None,
            status: 0,
            bytes: 0,
            whole: false,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.log.put(&Line {
            time: self.time,
            client: self.client.to_canonical(),
            method: self.method.as_str(),
            host: &self.host,
            path: &self.path,
            version: &format!("{:?}", self.version),
            user_agent: self.user_agent.as_deref(),
            referer: self.referer.as_deref(),
            service: self.service.as_deref(),
            status: self.status,
            bytes: self.bytes,
            seconds: self.begun.elapsed().as_secs_f64(),
            whole: self.whole,
        });
    }
}
