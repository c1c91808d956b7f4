//! curl, gRPC by its authors and a WebSocket library, through the HTTP proxy.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use peers::Running;
use portolan_conformance::{Daemon, LIMIT, Web, need};
use serde_json::json;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

/// Starts the serving half of a script; its port.
fn serve(python: &Path, file: &str) -> (Running, u16) {
    let running = Running::start(Command::new(python).arg(script(file)).args(["serve", "backend"])).unwrap();
    let port = peers::until(LIMIT, "its port", || running.said().lines().next()?.parse().ok()).unwrap();
    (running, port)
}

fn call(python: &Path, file: &str, arguments: &[&str]) -> String {
    let output = Command::new(python).arg(script(file)).arg("call").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn curl_reaches_a_service_by_name_over_http_1_and_2() {
    let daemon = need!(Daemon::start());
    let web = Web::start("hello").unwrap();
    daemon.register(&json!({ "Name": "web", "Port": web.port, "Address": "127.0.0.1" })).unwrap();
    let url = format!("http://127.0.0.1:{}/", daemon.http);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for host in ["web", "web.svc.internal", "web.service.consul", "WEB.svc.internal:80"] {
            let host = format!("Host: {host}");
            let output =
                Command::new("curl").args(["-sSf", "-m", "10", version, "-H", &host, &url]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(String::from_utf8_lossy(&output.stdout), "hello", "{version} {host}: {said}");
        }
    }
}

#[test]
fn grpc_with_streams_and_trailers() {
    let python = need!(peers::python(&["grpc"]));
    let daemon = need!(Daemon::start());
    let (_server, port) = serve(&python, "grpc_peers.py");
    daemon.register(&json!({ "Name": "echo", "Port": port, "Address": "127.0.0.1" })).unwrap();
    let target = format!("127.0.0.1:{}", daemon.http);
    let said = call(&python, "grpc_peers.py", &[&target, "echo.svc.internal"]);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "unary backend:hello late",
            "stream backend:m0 backend:m1 backend:m2",
            "fail first FAILED_PRECONDITION no more"
        ],
    );
}

#[test]
fn a_websocket_with_large_messages_and_pings() {
    let python = need!(peers::python(&["websockets"]));
    let daemon = need!(Daemon::start());
    let (_server, port) = serve(&python, "websocket_peers.py");
    daemon.register(&json!({ "Name": "chat", "Port": port, "Address": "127.0.0.1" })).unwrap();
    let url = format!("ws://127.0.0.1:{}/socket", daemon.http);
    let said = call(&python, "websocket_peers.py", &[&url, "chat.svc.internal"]);
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        ["text backend:hello", "binary True", "pong", "closed 1000"]
    );
}
