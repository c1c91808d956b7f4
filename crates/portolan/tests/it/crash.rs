//! What was acknowledged is there after any end of the process.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::Daemon;

/// How many lives; `PORTOLAN_CRASHES` asks for more.
fn lives() -> usize {
    std::env::var("PORTOLAN_CRASHES").ok().and_then(|count| count.parse().ok()).unwrap_or(25)
}

/// A client that writes until the daemon is gone; what it was told is done.
fn write(address: SocketAddr, name: String, stop: &AtomicBool) -> Vec<String> {
    let mut done = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address) else { return done };
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let item = format!("{name}-{number}");
        let (path, body) = match number % 2 {
            0 => (format!("/v1/kv/{item}"), item.clone()),
            _ => {
                let body = format!("{{\"ID\": \"{item}\", \"Name\": \"{name}\", \"Port\": 80}}");
                ("/v1/agent/service/register".into(), body)
            }
        };
        if put(&mut stream, &path, &body).is_none() {
            break;
        }
        done.push(item);
    }
    done
}

/// One request on a kept connection; something only when the answer was a whole "200".
fn put(stream: &mut TcpStream, path: &str, body: &str) -> Option<()> {
    let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        answer.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.to_lowercase();
        let length = length.split_once("content-length: ").map_or("0", |(_, rest)| rest);
        let length: usize = length.lines().next()?.trim().parse().ok()?;
        if body.len() >= length {
            return head.starts_with("HTTP/1.1 200").then_some(());
        }
    }
}

/// Everything that the daemon knows.
fn known(daemon: &Daemon) -> BTreeSet<String> {
    let keys: Value = serde_json::from_str(&daemon.say(&["kv", "list", "--output", "json"])).unwrap();
    let keys = keys.as_array().unwrap().iter().map(|pair| pair["Key"].as_str().unwrap().to_owned());
    let instances: Value = serde_json::from_str(&daemon.say(&["instances", "--output", "json"])).unwrap();
    let instances = instances.as_array().unwrap().clone();
    let ids = instances.iter().map(|entry| entry["Service"]["ID"].as_str().unwrap().to_owned());
    keys.chain(ids).collect()
}

#[test]
fn kill_9_under_load_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for life in 0..lives() {
        let mut daemon = Daemon::serve(folder.path(), &["--set", "storage.checkpoint_size=64KiB"]);
        let address = daemon.addresses["HTTP API"];
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let stop = stop.clone();
                std::thread::spawn(move || write(address, format!("l{life}w{writer}"), &stop))
            })
            .collect();
        // At a moment of its own in every life, with requests in flight.
        std::thread::sleep(Duration::from_millis(20 + (life as u64 * 37) % 180));
        daemon.signal(Signal::KILL);
        daemon.ended();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            acknowledged.extend(writer.join().unwrap());
        }
    }
    let daemon = Daemon::serve(folder.path(), &[]);
    let known = known(&daemon);
    let lost: Vec<_> = acknowledged.difference(&known).collect();
    println!("{} lives, {} acknowledged, {} known", lives(), acknowledged.len(), known.len());
    assert!(acknowledged.len() > lives(), "the load was no load: {}", acknowledged.len());
    assert!(lost.is_empty(), "lost {} of {}: {lost:?}", lost.len(), acknowledged.len());
}
