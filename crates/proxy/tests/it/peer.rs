//! Clients and servers that no one here wrote.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use portolan_proxy::HttpRoute;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::harness::{Harness, Instance, config};
use crate::http::named_mirror;

fn script(name: &str) -> String {
    format!("{}/tests/it/python/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Starts a server that prints its port first.
async fn server(python: &Path, name: &str) -> (Child, SocketAddr) {
    let mut child =
        Command::new(python).arg(script(name)).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    (child, ([127, 0, 0, 1], line.trim().parse().unwrap()).into())
}

/// Runs a client to its end; what it printed.
async fn client(command: &mut Command) -> String {
    let output = command.kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[tokio::test]
async fn websockets_by_python() {
    let python = match peers::python(&["websockets"]) {
        Ok(python) => python,
        Err(missing) => return println!("{missing}"),
    };
    let (_server, address) = server(&python, "websocket_server.py").await;
    let harness = Harness::start().await;
    harness.register("chat", Instance::at(address));
    let port = harness.http.port().to_string();
    let said = client(Command::new(&python).arg(script("websocket_client.py")).arg(port)).await;
    assert!(said.contains("closed with 1000"), "{said}");
    assert_eq!(harness.count("proxy_upgrades_total"), 1);
    assert!(harness.count("relay_spliced_bytes_total") > 0, "a large message is bulk");
    harness.stop().await;
}

#[tokio::test]
async fn grpc_by_python() {
    let python = match peers::python(&["grpc"]) {
        Ok(python) => python,
        Err(missing) => return println!("{missing}"),
    };
    let (_server, address) = server(&python, "grpc_server.py").await;
    let harness = Harness::start().await;
    harness.register("calls", Instance::at(address).speaking("grpc"));
    let port = harness.http.port().to_string();
    let said = client(Command::new(&python).arg(script("grpc_client.py")).arg(port)).await;
    assert!(said.contains("all calls went through"), "{said}");
    harness.stop().await;
}

#[tokio::test]
async fn load_by_h2load() {
    let h2load = match peers::tool("h2load") {
        Ok(h2load) => h2load,
        Err(missing) => return println!("{missing}"),
    };
    let server = named_mirror("m").await;
    let mut config = config();
    let rule = HttpRoute::new(None, Some("/"), "web");
    config.http.routes = vec![rule];
    let harness = Harness::with(config).await;
    harness.register("web", Instance::at(server.address));
    let url = format!("http://{}/", harness.http);
    for protocol in [&["-p", "h2c"][..], &["--h1"]] {
        let mut command = Command::new(&h2load);
        command.args(["-n", "3000", "-c", "8", "-m", "10"]).args(protocol).arg(&url);
        let said = client(&mut command).await;
        assert!(said.contains("3000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
        assert!(said.contains("status codes: 3000 2xx"), "{said}");
    }
    assert_eq!(harness.count("proxy_answers_total{code=\"2xx\"}"), 6000);
    harness.stop().await;
}

#[tokio::test]
async fn an_http2_server_by_nghttpd() {
    let (nghttpd, nghttp) = match (peers::tool("nghttpd"), peers::tool("nghttp")) {
        (Ok(nghttpd), Ok(nghttp)) => (nghttpd, nghttp),
        (Err(missing), _) | (_, Err(missing)) => return println!("{missing}"),
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hello.txt"), "hello by HTTP/2").unwrap();
    let port = peers::reserve_port().unwrap();
    let mut command = Command::new(nghttpd);
    command.args(["--no-tls", "--address=127.0.0.1", "--trailer=x-end: yes", "-d"]).arg(folder.path());
    let _server = command.arg(port.to_string()).kill_on_drop(true).spawn().unwrap();
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    crate::harness::eventually("nghttpd listens", async || {
        tokio::net::TcpStream::connect(address).await.is_ok()
    })
    .await;
    let harness = Harness::start().await;
    harness.register("files", Instance::at(address).speaking("h2c"));
    let url = format!("http://{}/hello.txt", harness.http);
    let said = client(Command::new(nghttp).args(["-v", "-H", ":authority: files"]).arg(&url)).await;
    assert!(said.contains("hello by HTTP/2") && said.contains("x-end: yes"), "{said}");
    harness.stop().await;
}
