//! Containers that come and go, by an engine that says what it is told to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::support::{Daemon, eventually};

/// An engine's socket. Dropping it takes the socket away; connections that are open end.
struct Engine {
    path: PathBuf,
    told: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    containers: Vec<Value>,
    watchers: Vec<UnixStream>,
}

impl Engine {
    fn start(path: &Path) -> Engine {
        let listener = UnixListener::bind(path).unwrap();
        let told = Arc::new(Mutex::new(Told::default()));
        let shared = told.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let told = shared.clone();
                // A daemon that is gone is no failure of the engine's.
                thread::spawn(move || drop(answer(stream, &told)));
            }
        });
        Engine { path: path.to_owned(), told }
    }

    /// What runs from now on; whoever waits for events gets one.
    fn run(&self, containers: &[Value]) {
        let mut told = self.told.lock().unwrap();
        told.containers = containers.to_vec();
        told.watchers.retain_mut(|watcher| watcher.write_all(b"3\r\n{}\n\r\n").is_ok());
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
        for watcher in self.told.lock().unwrap().watchers.drain(..) {
            drop(watcher.shutdown(std::net::Shutdown::Both));
        }
    }
}

fn answer(mut stream: UnixStream, told: &Mutex<Told>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    if path.starts_with("/events") {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        told.lock().unwrap().watchers.push(stream);
        return Ok(());
    }
    let running = told.lock().unwrap().containers.clone();
    let id = path.strip_prefix("/containers/").and_then(|rest| rest.strip_suffix("/json"));
    let body = match id {
        None => Some(json!(running.iter().map(|one| json!({ "Id": one["Id"] })).collect::<Vec<_>>())),
        Some(id) => running.into_iter().find(|one| one["Id"] == id),
    };
    let (status, body) = body.map_or((404, "{}".to_owned()), |body| (200, body.to_string()));
    write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn container(name: &str, port: u16, labels: &Value) -> Value {
    json!({
        "Id": format!("{name}0123456789abcdef"),
        "Name": format!("/{name}"),
        "Config": { "Image": "shop:1", "Env": null, "Labels": labels, "ExposedPorts": { "80/tcp": {} } },
        "HostConfig": { "NetworkMode": "bridge" },
        "NetworkSettings": { "Ports": { "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": port.to_string() }] } }
    })
}

fn instances(daemon: &Daemon) -> Vec<String> {
    let shown: Value = serde_json::from_str(&daemon.say(&["instances", "--output", "json"])).unwrap();
    let id = |one: &Value| one["Service"]["ID"].as_str().unwrap().to_owned();
    shown.as_array().unwrap().iter().map(id).collect()
}

fn eventually_instances(daemon: &Daemon, expected: &[&str]) {
    eventually(&format!("{expected:?}"), || {
        let mut found = instances(daemon);
        found.sort();
        (found == expected).then_some(())
    });
}

#[test]
fn services_follow_their_containers() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    let data = folder.path().join("data");
    let engine = Engine::start(&socket);
    let set = format!("containers.socket={}", socket.display());
    let options = [
        "--set",
        "containers.enabled=true",
        "--set",
        &set,
        "--set",
        "node.name=harbour",
        "--set",
        "containers.hold=1s",
    ];
    let daemon = Daemon::serve(&data, &options);
    daemon.say(&["register", "by-hand", "--port", "81"]);

    engine.run(&[container("one", 8081, &json!({ "SERVICE_NAME": "shop", "SERVICE_TAGS": "blue" }))]);
    eventually_instances(&daemon, &["by-hand-81", "harbour:one:80"]);
    let shop = daemon.say(&["instances", "shop"]);
    assert!(shop.contains("127.0.0.1:8081") && shop.contains("blue"), "{shop}");

    // A second one comes, and one that would like to be somebody else.
    let sly = container("sly", 666, &json!({ "SERVICE_ID": "by-hand-81", "SERVICE_NAME": "by-hand" }));
    engine.run(&[
        container("one", 8081, &json!({ "SERVICE_NAME": "shop" })),
        container("two", 8082, &Value::Null),
        sly,
    ]);
    eventually_instances(&daemon, &["by-hand-81", "harbour:one:80", "harbour:two:80"]);
    assert!(daemon.say(&["instances", "by-hand"]).contains(":81 "));

    // One goes while the daemon is away: it is known by its mark.
    drop(daemon);
    engine.run(&[container("two", 8082, &Value::Null)]);
    let daemon = Daemon::serve(&data, &options);
    eventually_instances(&daemon, &["by-hand-81", "harbour:two:80"]);

    // An engine that is gone is not one without containers, for a while.
    drop(engine);
    daemon.logged("the containers' engine does not answer; what is registered stays for now");
    eventually_instances(&daemon, &["by-hand-81"]);
    let engine = Engine::start(&socket);
    engine.run(&[container("two", 8082, &Value::Null)]);
    eventually_instances(&daemon, &["by-hand-81", "harbour:two:80"]);
}
