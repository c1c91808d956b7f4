//! Probes over TLS: whom they believe.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use catalog::{HttpProbe, Probe, Status};
use portolan_health::verdict::Finding;
use portolan_health::{Config, Prober};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use support::{answer, http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Directory of a certificate that the system is told to believe, in the process that believes it.
const TRUSTED: &str = "PORTOLAN_TEST_TRUSTED";

/// A certificate for `web.test` that nobody vouches for, and its key, both PEM.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["web.test".into()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn acceptor((certificate, key): (String, String), protocol: &str) -> TlsAcceptor {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// An HTTPS server; returns its URL.
async fn serve(acceptor: TlsAcceptor) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer("200 OK", "", "over tls").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    url
}

async fn run(probe: Probe) -> Finding {
    Prober::new(&Config::default()).run(&probe).await
}

async fn run_http(probe: HttpProbe) -> Finding {
    run(Probe::Http { http: Box::new(probe), cadence: support::cadence(1000) }).await
}

#[tokio::test]
async fn an_unknown_certificate_is_critical_unless_that_is_allowed() {
    let url = serve(acceptor(certificate(), "http/1.1")).await;
    let strict = run_http(HttpProbe { tls_server_name: "web.test".into(), ..http(url.clone()) }).await;
    assert_eq!(strict.status, Status::Critical);
    assert!(strict.output.contains("TLS to web.test"), "{}", strict.output);
    let lax = run_http(HttpProbe { tls_skip_verify: true, ..http(url) }).await;
    assert_eq!(lax.status, Status::Passing, "{}", lax.output);
    assert!(lax.output.ends_with("over tls"));
}

#[tokio::test]
async fn a_certificate_that_the_system_believes_passes_under_its_name_alone() {
    let Some(directory) = std::env::var_os(TRUSTED).map(PathBuf::from) else {
        return in_a_process_that_trusts();
    };
    let read = |name| std::fs::read_to_string(directory.join(name)).unwrap();
    let url = serve(acceptor((read("cert.pem"), read("key.pem")), "http/1.1")).await;
    let right = run_http(HttpProbe { tls_server_name: "web.test".into(), ..http(url.clone()) }).await;
    assert_eq!(right.status, Status::Passing, "{}", right.output);
    for name in ["other.test", ""] {
        let wrong = run_http(HttpProbe { tls_server_name: name.into(), ..http(url.clone()) }).await;
        assert_eq!(wrong.status, Status::Critical, "under {name:?}: {}", wrong.output);
    }
}

/// Runs that test again where the system's root certificates are ours.
fn in_a_process_that_trusts() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate();
    std::fs::write(directory.path().join("cert.pem"), certificate).unwrap();
    std::fs::write(directory.path().join("key.pem"), key).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["a_certificate_that_the_system_believes_passes_under_its_name_alone", "--exact"])
        .env(TRUSTED, directory.path())
        .env("SSL_CERT_FILE", directory.path().join("cert.pem"))
        .status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn grpc_speaks_tls_too() {
    let server = support::grpc::serve(Some(acceptor(certificate(), "h2"))).await;
    let ask = |tls_skip_verify| {
        let address = format!("{server}/web").into();
        run(Probe::Grpc { address, tls: true, tls_skip_verify, cadence: support::cadence(1000) })
    };
    let lax = ask(true).await;
    assert_eq!((lax.status, lax.output.ends_with("SERVING")), (Status::Passing, true), "{}", lax.output);
    let strict = ask(false).await;
    assert_eq!(strict.status, Status::Critical);
    assert!(strict.output.contains("TLS to 127.0.0.1"), "{}", strict.output);
}
