//! An etcd that asks who is there, and says who it is: TLS, and a user who may do as much as the documentation says.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use peers::Running;
use portolan_netns::http::{Request, ask};
use portolan_netns::{Cluster, Host, Lab, need};
use serde_json::json;

use crate::support::{SECOND, all_keep, keep};

const PASSWORD: &str = "nobody guesses this";
/// The prefix `/portolan/` and what ends it, as the gateway wants bytes.
const PREFIX: (&str, &str) = ("L3BvcnRvbGFuLw==", "L3BvcnRvbGFuMA==");

/// An authority, and a certificate of etcd's for this address.
fn papers(openssl: &Path, folder: &Path, host: &Host) {
    let make = |arguments: &[&str]| {
        let output = Command::new(openssl).args(arguments).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let ca = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca"];
    make(&[&["req", "-x509"], &key[..], &ca].concat());
    let text = format!("subjectAltName=IP:{},IP:127.0.0.1\nbasicConstraints=CA:FALSE\n", host.address);
    std::fs::write(folder.join("etcd.ext"), text).unwrap();
    let request = ["-keyout", "etcd.key", "-out", "etcd.csr", "-subj", "/CN=etcd"];
    make(&[&["req"], &key[..], &request].concat());
    let sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "etcd.ext"];
    make(&[&["x509", "-req", "-in", "etcd.csr", "-out", "etcd.pem"], &sign[..]].concat());
}

/// One member: by TLS for others, plain on its own loopback, where a user is made and asking for one is switched on.
fn etcd(binary: &Path, folder: &Path, host: &Host) -> Running {
    let url = |scheme: &str, port: u16| format!("{scheme}://{}:{port}", host.address);
    let mut command = host.command(binary);
    command.args(["--name", "only", "--data-dir"]).arg(folder.join("etcd"));
    let clients = format!("{},http://127.0.0.1:2379", url("https", 2379));
    command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &url("https", 2379)]);
    let peers = url("http", 2380);
    command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    command.args(["--initial-cluster", &format!("only={peers}")]);
    command.arg("--cert-file").arg(folder.join("etcd.pem")).arg("--key-file").arg(folder.join("etcd.key"));
    let running = Running::start(&mut command).unwrap();
    let call = |path: &str, body: serde_json::Value| {
        let body = body.to_string();
        let request = Request { body: &body, ..Request::new("POST", path) };
        let answer = host.enter(|| ask(([127, 0, 0, 1], 2379).into(), 5 * SECOND, &request)).ok()?;
        (answer.status == 200).then_some(())
    };
    let (prefix, end) = PREFIX;
    let range = json!({ "permType": "READWRITE", "key": prefix, "range_end": end });
    for (path, body) in [
        ("user/add", json!({ "name": "root", "password": "of etcd" })),
        ("role/add", json!({ "name": "root" })),
        ("user/grant", json!({ "user": "root", "role": "root" })),
        ("user/add", json!({ "name": "portolan", "password": PASSWORD })),
        ("role/add", json!({ "name": "portolan" })),
        ("role/grant", json!({ "name": "portolan", "perm": range })),
        ("user/grant", json!({ "user": "portolan", "role": "portolan" })),
        ("enable", json!({})),
    ] {
        let done = || call(&format!("/v3/auth/{path}"), body.clone());
        peers::until(Duration::from_secs(60), path, done).unwrap();
    }
    running
}

#[test]
fn etcd_behind_tls_and_a_login_carries_the_order() {
    let lab = need!(Lab::new(&["a", "b"]));
    let folder = tempfile::tempdir().unwrap();
    let (binary, openssl) = (need!(peers::tool("etcd")), need!(peers::tool("openssl")));
    papers(&openssl, folder.path(), &lab.hosts[0]);
    let _etcd = etcd(&binary, folder.path(), &lab.hosts[0]);
    let password = folder.path().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    let cluster = Cluster::new(&lab, folder.path(), |_, start| {
        start
            .set("cluster.order=etcd")
            .set(format!("cluster.etcd.endpoints=https://{}:2379", lab.hosts[0].address))
            .set(format!("cluster.etcd.ca_file={}", folder.path().join("ca.pem").display()))
            .set("cluster.etcd.user=portolan")
            .set(format!("cluster.etcd.password_file={}", password.display()))
    });
    let mut cluster = need!(cluster);
    cluster.form(2).unwrap();
    keep(&cluster, 0, 0..10);
    keep(&cluster, 1, 10..20);
    all_keep(&cluster, &[0, 1], 20);
    // After a start everything is there, by a login of its own.
    cluster.kill(1);
    cluster.start(1).unwrap();
    all_keep(&cluster, &[1], 20);
    keep(&cluster, 1, 20..25);
}
