//! The binary under Consul's name, used as scripts use Consul.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::path::Path;
use std::process::{Command, Output};

use peers::Running;
use portolan_conformance::{LIMIT, need};

/// `consul` in a folder of its own, with an agent's port.
struct Consul {
    folder: tempfile::TempDir,
    http: u16,
}

impl Consul {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.folder.path().join("consul"));
        command.args(arguments).env("CONSUL_HTTP_ADDR", format!("127.0.0.1:{}", self.http));
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What it says on success.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "consul {arguments:?}: {out}{err}");
        out.trim_end().to_owned()
    }
}

#[test]
fn an_agent_starts_from_consuls_files_and_answers_consuls_commands() {
    let binary = need!(peers::portolan());
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(binary, folder.path().join("consul")).unwrap();
    let consul = Consul { folder, http: peers::reserve_port().unwrap() };
    let file = consul.folder.path().join("agent.hcl");
    write(&file, &consul, "web");
    let config = format!("-config-file={}", file.display());
    let mut agent =
        Running::start(&mut consul.command(&["agent", "-dev", "-node", "harbour", &config])).unwrap();
    let lists =
        |name: &str| String::from_utf8_lossy(&consul.output(&["catalog", "services"]).stdout).contains(name);
    agent.wait_until(LIMIT, "the service of the file", || lists("web")).unwrap();
    assert!(agent.said().contains("retry_join"), "unknown keys are listed: {}", agent.said());

    assert!(consul.says(&["version"]).starts_with("Consul v"));
    assert!(consul.says(&["members"]).contains("harbour"));
    assert!(consul.says(&["catalog", "nodes"]).contains("harbour"));
    consul.says(&["kv", "put", "-flags=7", "a/b", "hello"]);
    assert_eq!(consul.says(&["kv", "get", "a/b"]), "hello");
    assert!(!consul.output(&["kv", "get", "nope"]).status.success());
    assert_eq!(consul.says(&["kv", "get", "-keys", "a"]), "a/");
    consul.says(&["services", "register", "-name=api", "-port=8080", "-tag=blue"]);
    assert!(consul.says(&["catalog", "services", "-tags"]).contains("api    blue"));
    consul.says(&["services", "deregister", "-id=api"]);
    assert!(!lists("api"));
    assert_eq!(consul.says(&["lock", "locks/one", "echo held"]), "held");

    let saved = consul.folder.path().join("saved.tgz");
    consul.says(&["snapshot", "save", saved.to_str().unwrap()]);
    consul.says(&["kv", "delete", "a/b"]);
    consul.says(&["snapshot", "restore", saved.to_str().unwrap()]);
    assert_eq!(consul.says(&["kv", "get", "a/b"]), "hello");

    // What left the file leaves the catalog.
    write(&file, &consul, "other");
    consul.says(&["reload"]);
    agent.wait_until(LIMIT, "the other service", || lists("other") && !lists("web")).unwrap();
    consul.says(&["leave"]);
    assert!(!consul.output(&["explode"]).status.success());
}

fn write(file: &Path, consul: &Consul, service: &str) {
    let text = format!(
        r#"
ports {{ http = {} dns = -1 }}   # DNS is off
retry_join = ["nobody"]
service {{
  name = "{service}"
  port = 80
  check {{ id = "life" ttl = "300s" status = "passing" }}
}}
"#,
        consul.http
    );
    std::fs::write(file, text).unwrap();
}
