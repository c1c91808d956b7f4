//! consul-template as its authors wrote it: a file that follows a service and a key by blocking queries.

use std::process::Command;
use std::time::Duration;

use peers::Running;
use portolan_conformance::{Daemon, need};
use serde_json::json;

/// A busy host may take long.
const LIMIT: Duration = Duration::from_secs(60);

const TEMPLATE: &str = r#"colour {{ key "shop/colour" }}
{{ range service "web" }}server {{ .ID }} {{ .Address }}:{{ .Port }}
{{ end }}{{ range services }}{{ .Name }} {{ end }}
{{ range nodes }}{{ .Node }}{{ end }}
"#;

#[test]
fn a_file_follows_services_and_keys() {
    need!(peers::all_suites());
    let program = need!(peers::tool("consul-template"));
    let daemon = need!(Daemon::start());
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("servers.tmpl"), folder.path().join("servers"));
    std::fs::write(&from, TEMPLATE).unwrap();
    let mut template = Command::new(program);
    template.arg(format!("-consul-addr={}", daemon.address()));
    template.arg(format!("-template={}:{}", from.display(), to.display()));
    let mut template = Running::start(&mut template).unwrap();
    let text = || std::fs::read_to_string(&to).unwrap_or_default();

    daemon.put("/v1/kv/shop/colour", "blue").unwrap();
    daemon.register(&json!({ "Name": "web", "ID": "w1", "Address": "10.0.0.1", "Port": 80 })).unwrap();
    template
        .wait_until(LIMIT, "the first file", || {
            text().contains("colour blue\nserver w1 10.0.0.1:80\n") && text().contains("web ")
        })
        .unwrap();
    let critical = json!({ "Name": "web", "ID": "w2", "Address": "10.0.0.2", "Port": 80,
        "Check": { "TTL": "1h", "Status": "critical" } });
    daemon.register(&critical).unwrap();
    daemon.put("/v1/kv/shop/colour", "green").unwrap();
    template.wait_until(LIMIT, "another colour", || text().contains("colour green\nserver w1")).unwrap();
    assert!(!text().contains("w2"), "what is critical is no server: {}", text());
    daemon.put("/v1/agent/check/pass/service:w2", "").unwrap();
    template.wait_until(LIMIT, "the second server", || text().contains("server w2 10.0.0.2:80")).unwrap();
    daemon.put("/v1/agent/service/deregister/w1", "").unwrap();
    template.wait_until(LIMIT, "the first to be gone", || !text().contains("w1")).unwrap();
}
