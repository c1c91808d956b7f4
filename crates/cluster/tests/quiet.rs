//! Nothing secret is logged, printed by `Debug`, or left readable.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod support;

use std::io::Write;
use std::path::Path;
use std::process::Command as Process;
use std::sync::{Arc, Mutex};

use catalog::Role;
use portolan_cluster::token::Wish;
use portolan_cluster::{Identity, ca, rotate};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use support::{Away, First, HOUR_MS, TODAY_MS};
use tempfile::tempdir;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Every line of every private file, and the ends of tokens.
fn secrets(home: &Path, into: &mut Vec<String>) {
    for name in ["ca.key", "issuer.key", "node.key", "operator.token"] {
        let Ok(text) = std::fs::read_to_string(home.join("cluster").join(name)) else { continue };
        into.extend(text.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned));
    }
}

#[tokio::test]
async fn no_secret_is_logged() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let first = First::new().await;
    let (home, other) = (tempdir().unwrap(), tempdir().unwrap());
    let token = first.token(Wish::default()).await;
    let joined = first.join(&home, &token, "b").await.unwrap();
    let refused = first.join(&other, &token, "c").await.unwrap_err();
    let shown = format!("{joined:?} {token:?} {refused:?} {:?}", first.local.credentials().now());
    let node = Away::new(&first, joined, &first.time);
    rotate::begin(&first.local, &first.store, first.time.now()).await.unwrap();
    let mut known = vec![token.reveal().unwrap()[40..].to_owned()];
    secrets(home.path(), &mut known);
    secrets(first.home.path(), &mut known);
    first.time.pass(20 * HOUR_MS);
    node.renewer.turn().await.unwrap();
    tracing::info!("the last line");
    secrets(home.path(), &mut known);
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("a node joined") && log.contains("the last line"), "{log}");
    assert!(known.len() > 10);
    for secret in known {
        assert!(!log.contains(&secret), "a secret is in the log");
        assert!(!shown.contains(&secret), "a secret is shown");
    }
}

#[tokio::test]
async fn certificates_for_other_programs_are_what_openssl_takes() {
    let first = First::new().await;
    let out = tempdir().unwrap();
    let out_path = out.path();
    let issue = |days| {
        move |identity: &Identity| ca::issue_files(identity, "node-1.example", days, out_path, TODAY_MS)
    };
    let error = first.local.with(issue(3650)).unwrap_err().to_string();
    assert!(error.contains("counts for 730 more"), "{error}");
    let issued = first.local.with(issue(365)).unwrap();
    assert!(first.local.with(issue(365)).unwrap_err().to_string().contains("exists already"));
    let openssl = |args: &[&str]| Process::new("openssl").args(args).current_dir(out.path()).output();
    let Ok(verified) = openssl(&[
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-verify_hostname",
        "node-1.example",
        "-attime",
        "1790000100",
        "-CAfile",
        "ca.pem",
        "-untrusted",
        "node-1.example.pem",
        "node-1.example.pem",
    ]) else {
        println!("skipped: no openssl on this host");
        return;
    };
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let key = openssl(&["pkey", "-in", "node-1.example.key", "-noout"]).unwrap();
    assert!(key.status.success());
    assert!(issued.roots.ends_with("ca.pem"));
    // Good for TLS, and no node of the cluster.
    let text = openssl(&["x509", "-in", "node-1.example.pem", "-noout", "-text"]).unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("/workload/node-1.example") && !text.contains("/node/"), "{text}");
}

#[tokio::test]
async fn an_agent_signs_nothing() {
    let first = First::new().await;
    let home = tempdir().unwrap();
    let token = first.token(Wish { role: Role::Agent, ..Wish::default() }).await;
    let agent = first.join(&home, &token, "b").await.unwrap();
    let error = agent.authority("issue a certificate").err().unwrap().to_string();
    assert!(error.contains("\"b\" is an agent"), "{error}");
    assert!(!home.path().join("cluster/ca.key").exists() && !home.path().join("cluster/issuer.key").exists());
}

#[test]
fn programs_without_a_cluster_share_a_private_root() {
    let out = tempdir().unwrap();
    for name in ["node-1", "192.0.2.7"] {
        ca::issue_standalone(name, 30, out.path(), TODAY_MS).unwrap();
    }
    for (check, name) in [("-verify_hostname", "node-1"), ("-verify_ip", "192.0.2.7")] {
        let file = format!("{name}.pem");
        let args = ["verify", "-x509_strict", check, name, "-attime", "1790000100", "-CAfile", "ca.pem"];
        let mut openssl = Process::new("openssl");
        openssl.args(args).args(["-untrusted", &file, &file]).current_dir(out.path());
        let Ok(verified) = openssl.output() else {
            println!("skipped: no openssl on this host");
            return;
        };
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    }
    let other = tempdir().unwrap();
    ca::issue_standalone("node-1", 30, other.path(), TODAY_MS).unwrap();
    std::fs::copy(other.path().join("ca.pem"), out.path().join("ca.pem")).unwrap();
    let error = ca::issue_standalone("node-2", 30, out.path(), TODAY_MS).unwrap_err().to_string();
    assert!(error.contains("ca.pem") && error.contains("another root"), "{error}");
}

#[tokio::test]
async fn a_service_is_certified_under_its_one_name_and_passes_for_no_node() {
    let first = First::new().await;
    let certify = |service: &'static str| {
        first.local.with(|identity| ca::certify_service(identity, "dc1", service, TODAY_MS))
    };
    let made = certify("web").unwrap();
    let cluster = first.local.with(|identity| identity.facts.cluster.clone());
    assert_eq!(made.uri, format!("spiffe://{cluster}/ns/default/dc/dc1/svc/web"));
    assert!(made.validity.until_ms > TODAY_MS && made.chain.matches("BEGIN CERTIFICATE").count() == 2);
    let chain: Vec<Vec<u8>> =
        CertificateDer::pem_slice_iter(made.chain.as_bytes()).map(|der| der.unwrap().to_vec()).collect();
    let roots = first.local.with(|identity| identity.roots.clone());
    assert_eq!(ca::lapse(&chain, &roots, TODAY_MS).unwrap().ago_ms, 0, "the cluster's roots vouch for it");
    assert_ne!(made.key, certify("web").unwrap().key, "another key each time");
    let refused = certify("no/service").err().unwrap().to_string();
    assert!(refused.contains("service name"), "{refused}");
}
