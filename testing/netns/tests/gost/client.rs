//! GOST's two ways of asking: JSON over HTTP, and gRPC by stubs that grpcio-tools generates.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use portolan_netns::{Host, LIMIT, Missing, http};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The verbs of service discovery. An error is the server's refusal, or why there was no answer.
pub(crate) trait Client {
    /// `Register`, `Renew` or `Deregister`: what it says of `ok`.
    fn call(&mut self, verb: &str, service: &Value) -> Result<bool, String>;
    /// `Get`.
    fn get(&mut self, name: &str) -> Result<Vec<Value>, String>;
}

pub(crate) struct Http<'a> {
    host: &'a Host,
    server: SocketAddr,
}

impl<'a> Http<'a> {
    pub(crate) fn new(host: &'a Host, server: SocketAddr) -> Http<'a> {
        Http { host, server }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value, String> {
        let request = http::Request { body, ..http::Request::new(method, path) };
        let answer = self.host.enter(|| http::ask(self.server, LIMIT, &request));
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        match answer.status {
            200 => serde_json::from_str(&answer.body).map_err(|error| error.to_string()),
            _ => Err(answer.body),
        }
    }
}

impl Client for Http<'_> {
    fn call(&mut self, verb: &str, service: &Value) -> Result<bool, String> {
        let method = match verb {
            "Register" => "POST",
            "Renew" => "PUT",
            _ => "DELETE",
        };
        let answer = self.ask(method, "/sd", &service.to_string())?;
        Ok(answer["ok"] == true)
    }

    fn get(&mut self, name: &str) -> Result<Vec<Value>, String> {
        let answer = self.ask("GET", &format!("/sd?name={name}"), "")?;
        answer["services"].as_array().cloned().ok_or_else(|| answer.to_string())
    }
}

pub(crate) struct Grpc {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    server: SocketAddr,
    _generated: TempDir,
}

impl Grpc {
    pub(crate) fn start(host: &Host, server: SocketAddr) -> Result<Grpc, Missing> {
        let python = peers::python(&["grpc_tools.protoc", "grpc"])?;
        let generated = tempfile::tempdir().unwrap();
        let scripts = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts"));
        let mut child = host
            .command(python)
            .args([scripts.join("gost_client.py"), scripts.join("gost.proto")])
            .arg(generated.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Ok(Grpc { child, input, output, server, _generated: generated })
    }

    /// One line to the client, and the line that it answers.
    pub(crate) fn ask(&mut self, mut request: Value) -> Result<Value, String> {
        request["target"] = json!(self.server.to_string());
        writeln!(self.input, "{request}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?;
        match answer.get_mut("answer") {
            Some(value) => Ok(value.take()),
            None => Err(format!("{}: {}", answer["code"], answer["why"])),
        }
    }
}

impl Client for Grpc {
    fn call(&mut self, verb: &str, service: &Value) -> Result<bool, String> {
        Ok(self.ask(json!({ "call": verb, "service": service }))? == true)
    }

    fn get(&mut self, name: &str) -> Result<Vec<Value>, String> {
        let answer = self.ask(json!({ "call": "Get", "name": name }))?;
        answer.as_array().cloned().ok_or_else(|| answer.to_string())
    }
}

impl Drop for Grpc {
    fn drop(&mut self) {
        // It dies with this thread at the latest.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
