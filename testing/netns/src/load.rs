//! Many clients that read and write the same few keys at once, each at the daemon of its own host, and the history
//! of what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use linear::{Answer, Ask, Operation, Recorder};
use serde_json::Value;

use crate::daemon::API;
use crate::host::Host;
use crate::http::{self, NoAnswer, Request};

/// What a client waits for one answer. Long enough for an election, short enough that many outcomes stay unknown
/// while a majority is out of reach, which is what is to be tested.
const PATIENCE: Duration = Duration::from_secs(3);

/// Clients go on to new keys this often: the cost of a check grows with the operations on one key whose outcome
/// is unknown.
const KEYS_LAST: Duration = Duration::from_secs(3);

/// Keys at a time.
const KEYS: u64 = 3;

/// A history of operations on keys.
pub type History = Vec<(String, Operation<Ask, Answer>)>;

/// Running clients; they end with the value.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    origin: Instant,
    recorder: Recorder<String, Ask, Answer>,
    /// No value is written twice.
    next_value: AtomicU64,
    /// Writes acknowledged, by host.
    written: Vec<AtomicU64>,
    token: Option<String>,
}

impl Load {
    /// Starts so many clients on each host.
    pub fn start(hosts: &[Host], token: Option<&str>, clients_each: usize) -> Load {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            origin: Instant::now(),
            recorder: Recorder::default(),
            next_value: AtomicU64::new(1),
            written: hosts.iter().map(|_| AtomicU64::new(0)).collect(),
            token: token.map(str::to_owned),
        });
        let mut threads = Vec::new();
        for (at, host) in hosts.iter().enumerate() {
            for one in 0..clients_each {
                let (door, shared) = (host.door(), shared.clone());
                let client = at * clients_each + one;
                threads.push(std::thread::spawn(move || {
                    door.take_thread();
                    Client {
                        shared: &shared,
                        number: client,
                        host: at,
                        rng: fastrand::Rng::with_seed(client as u64),
                    }
                    .run();
                }));
            }
        }
        Load { shared, threads }
    }

    /// Writes acknowledged so far by the daemon of one host.
    pub fn written_by(&self, host: usize) -> u64 {
        self.shared.written[host].load(Ordering::Relaxed)
    }

    /// Writes acknowledged so far.
    pub fn written(&self) -> u64 {
        self.shared.written.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Lets every client finish what it is at, and hands over what happened.
    pub fn finish(mut self) -> History {
        self.join();
        self.shared.recorder.take()
    }

    fn join(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic in it has shown itself in the test.
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.join();
    }
}

struct Client<'a> {
    shared: &'a Shared,
    number: usize,
    host: usize,
    rng: fastrand::Rng,
}

impl Client<'_> {
    fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let generation = self.shared.origin.elapsed().as_millis() / KEYS_LAST.as_millis();
            let key = format!("lab/{generation}/{}", self.rng.u64(..KEYS));
            let answered = match self.rng.u8(..10) {
                0..=3 => self.read(&key).is_some(),
                4..=6 => self.write(&key, Ask::Write(self.fresh()), ""),
                7 => self.write(&key, Ask::Delete, ""),
                _ => self.swap(&key),
            };
            if !answered {
                // Nobody is there or nobody decides: no need to ask a thousand times a second.
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    fn fresh(&self) -> u64 {
        self.shared.next_value.fetch_add(1, Ordering::Relaxed)
    }

    /// Value and version, 0 each for none.
    fn read(&self, key: &str) -> Option<(u64, u64)> {
        let pending = self.shared.recorder.call(self.number, key.to_owned(), Ask::Read);
        let path = format!("/v1/kv/{key}?consistent");
        let answer = self.send("GET", &path, "").ok()?;
        let (value, version) = match answer.status {
            200 => entry(&answer.body)?,
            404 => (0, 0),
            _ => return None,
        };
        pending.returned(Answer::Value(value));
        Some((value, version))
    }

    /// No value is written twice, so the version that was read stands for the value.
    fn swap(&self, key: &str) -> bool {
        let Some((from, version)) = self.read(key) else { return false };
        self.write(key, Ask::Swap { from, to: self.fresh() }, &format!("?cas={version}"))
    }

    fn write(&self, key: &str, ask: Ask, query: &str) -> bool {
        let pending = self.shared.recorder.call(self.number, key.to_owned(), ask);
        let path = format!("/v1/kv/{key}{query}");
        let sent = match ask {
            Ask::Delete => self.send("DELETE", &path, ""),
            Ask::Write(value) | Ask::Swap { to: value, .. } => self.send("PUT", &path, &value.to_string()),
            Ask::Read => return false,
        };
        let answer = match sent {
            Ok(answer) => answer,
            Err(NoAnswer::NotSent(..)) => {
                pending.never_sent();
                return false;
            }
            Err(NoAnswer::Unknown(..)) => return false,
        };
        // Any other status may come after the command was handed on: its outcome is not known.
        match (answer.status, answer.body.trim()) {
            (200, "true") => pending.returned(Answer::Done),
            (200, "false") => pending.returned(Answer::Refused),
            _ => return false,
        }
        self.shared.written[self.host].fetch_add(1, Ordering::Relaxed);
        true
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Result<http::Answer, NoAnswer> {
        let request = Request { body, token: self.shared.token.as_deref(), ..Request::new(method, path) };
        http::ask(API, PATIENCE, &request)
    }
}

/// The value and the version of the one entry in Consul's answer.
fn entry(body: &str) -> Option<(u64, u64)> {
    let json: Value = serde_json::from_str(body).ok()?;
    let entry = json.get(0)?;
    let value = STANDARD.decode(entry["Value"].as_str()?).ok()?;
    Some((std::str::from_utf8(&value).ok()?.parse().ok()?, entry["ModifyIndex"].as_u64()?))
}

#[cfg(test)]
mod tests {
    use super::entry;

    #[test]
    fn an_entry_has_a_value_and_a_version() {
        assert_eq!(entry(r#"[{"Key":"a","Value":"NDI=","ModifyIndex":7}]"#), Some((42, 7)));
        assert_eq!(entry("[]"), None);
    }
}
