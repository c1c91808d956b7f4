//! The commands of the plugin's page as a reader types them, its stray backslash left out, with the daemon killed
//! between the first and the others.

use portolan_netns::{Host, Lab, need};
use serde_json::{Value, json};

use crate::{known, start};

const REGISTER: &str = r#"curl -XPOST http://127.0.0.1:8000/sd \
-d '{"id":"c23d4f42-c892-42b3-8b74-88ab6455d33a", 
"name":"c9ef8f8c-d687-4dca-be7a-1467b6565404", 
"node":"db670b91-61a5-4f7c-8014-3bbe994446ea", 
"network":"tcp",
"address":"10.42.0.100:80"}'"#;

const DEREGISTER: &str = r#"curl -XDELETE http://127.0.0.1:8000/sd \
-d '{"id":"c23d4f42-c892-42b3-8b74-88ab6455d33a", 
"name":"c9ef8f8c-d687-4dca-be7a-1467b6565404", 
"node":"db670b91-61a5-4f7c-8014-3bbe994446ea"}'"#;

const RENEW: &str = r#"curl -XPUT http://127.0.0.1:8000/sd \
-d '{"id":"c23d4f42-c892-42b3-8b74-88ab6455d33a", 
"name":"c9ef8f8c-d687-4dca-be7a-1467b6565404", 
"node":"db670b91-61a5-4f7c-8014-3bbe994446ea"}'"#;

const GET: &str = "curl -XGET http://127.0.0.1:8000/sd?name=c9ef8f8c-d687-4dca-be7a-1467b6565404";

/// What a command typed on a host prints.
fn typed(host: &Host, command: &str) -> Value {
    let output = host.command("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn as_it_is_typed() {
    need!(peers::tool("curl"));
    let lab = need!(Lab::new(&["a"]));
    let host = &lab.hosts[0];
    let folder = tempfile::tempdir().unwrap();
    let start = need!(start(&lab, folder.path())).set("gost.ttl=1m");
    let daemon = start.run().unwrap();
    let services = |services: &[Value]| json!({ "services": services });
    assert_eq!(typed(host, REGISTER), json!({ "ok": true }));
    daemon.kill();
    let _daemon = start.run().unwrap();
    assert_eq!(typed(host, GET), services(&[known()]));
    assert_eq!(typed(host, RENEW), json!({ "ok": true }));
    assert_eq!(typed(host, GET), services(&[known()]));
    assert_eq!(typed(host, DEREGISTER), json!({ "ok": true }));
    assert_eq!(typed(host, GET), services(&[]));
}
