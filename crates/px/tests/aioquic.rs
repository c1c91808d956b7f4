//! px as spoken by a QUIC library that is not ours: aioquic.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mesh::{Mesh, Peers};
use portolan_px::dialect::{self, Counts};
use portolan_px::{Config, Content, Message};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};

/// A private root and certificates in a folder, as px's README asks for.
struct Certificates {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

#[allow(clippy::unwrap_used, reason = "helper of tests")]
impl Certificates {
    fn new() -> Certificates {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "a private root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Certificates { folder, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// The node that this name's file starts, for as long as the mesh is held.
    fn start(&self, name: &str, more: &str) -> (Mesh, Arc<Counts>) {
        self.issue(name);
        let file = format!(
            r#"{{ "me": {{ "id": "{name}", "addr": "127.0.0.1:5000", // as in the seed
                "tls_config_info": {{ "cert_path": "{name}.pem", "key_path": "{name}.key", "ca_cert_path": "ca.pem" }} }},
              {more} "servers": [] }}"#
        );
        std::fs::write(self.path("px.json"), file).unwrap();
        let config = Config::load(&self.path("px.json")).unwrap();
        let trust = state::channel(portolan_px::load_trust(&config).unwrap());
        let peers = state::channel(Peers::default());
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let guests = dialect::guests(config.allow_without_certificate);
        let mesh = Mesh::start(mesh::Config { listen, guests, ..mesh::Config::default() }, trust.1, peers.1)
            .unwrap();
        let counts = Arc::<Counts>::default();
        tokio::spawn(dialect::serve(config.id, mesh.guests(), counts.clone()));
        (mesh, counts)
    }
}

/// One conversation.
struct Talk<'a> {
    python: &'a Path,
    certificates: &'a Certificates,
    port: u16,
    own: Option<&'a str>,
    alpn: &'a str,
    mode: &'a str,
}

#[allow(clippy::unwrap_used, reason = "helper of tests")]
impl Talk<'_> {
    /// Sends pieces; the records that come back, or what went wrong.
    async fn say(&self, pieces: &[&[u8]], answers: usize) -> Result<Vec<Message>, String> {
        let mut command = Command::new(self.python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/px_peer.py"));
        command.args(["127.0.0.1", &self.port.to_string(), "a.example"]);
        command.arg(self.certificates.path("ca.pem")).args([self.alpn, self.mode]);
        if let Some(own) = self.own {
            command.arg(self.certificates.path(&format!("{own}.pem")));
            command.arg(self.certificates.path(&format!("{own}.key")));
        }
        let hex = |piece: &&[u8]| piece.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let lines = std::iter::once(answers.to_string()).chain(pieces.iter().map(hex));
        let input = lines.collect::<Vec<_>>().join("\n");
        let output = tokio::task::spawn_blocking(move || run(command, &input)).await.unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let text = String::from_utf8(output.stdout).unwrap();
        Ok(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }
}

#[allow(clippy::unwrap_used, reason = "helper of tests")]
fn run(mut command: Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[allow(clippy::unwrap_used, reason = "helper of tests")]
fn record(from: &str, to: &str, content: Content) -> Vec<u8> {
    Message { from: from.into(), to: to.into(), content }.to_record().unwrap()
}

fn ping(seqnum: u64) -> Content {
    Content::Ping { seqnum, message: format!("number {seqnum}") }
}

fn pong(to: &str, seqnum: u64) -> Message {
    let content = Content::Pong { seqnum, message: format!("number {seqnum}") };
    Message { from: "a.example".into(), to: to.into(), content }
}

#[tokio::test]
async fn pings_of_aioquic_are_answered_however_they_are_cut() {
    let python = match peers::python(&["aioquic"]) {
        Ok(python) => python,
        Err(missing) => return println!("{missing}"),
    };
    let certificates = Certificates::new();
    let (mesh, counts) = certificates.start("a.example", "");
    certificates.issue("b.example");
    let port = mesh.local_addr().unwrap().port();
    for (alpn, mode) in [("px", "bidi"), ("px", "uni"), ("h3", "uni")] {
        let talk =
            Talk { python: &python, certificates: &certificates, port, own: Some("b.example"), alpn, mode };
        let first = record("b.example", "a.example", ping(1));
        // Split in the middle; then bad ones, empty ones, another's name and another node among good ones.
        let mut mixed = first[7..].to_vec();
        mixed.extend(b"\r{]\r\r");
        mixed.extend(record("c.example", "a.example", ping(2)));
        mixed.extend(record("b.example", "c.example", ping(3)));
        mixed.extend(record("b.example", "a.example", Content::Invalid));
        mixed.extend(record("b.example", "a.example", ping(4)));
        let answers = talk.say(&[&first[..7], &mixed], 2).await.unwrap();
        assert_eq!(answers, [pong("b.example", 1), pong("b.example", 4)], "{alpn} {mode}");
    }
    assert_eq!(counts.answered.load(Ordering::Relaxed), 6);
    assert_eq!((counts.bad.load(Ordering::Relaxed), counts.misdirected.load(Ordering::Relaxed)), (3, 6));
}

#[tokio::test]
async fn only_those_with_a_certificate_of_the_root_are_heard_unless_the_file_says_otherwise() {
    let python = match peers::python(&["aioquic"]) {
        Ok(python) => python,
        Err(missing) => return println!("{missing}"),
    };
    let certificates = Certificates::new();
    let (mesh, counts) = certificates.start("a.example", "");
    let port = mesh.local_addr().unwrap().port();
    let from_b = record("b.example", "a.example", ping(1));
    let talk =
        Talk { python: &python, certificates: &certificates, port, own: None, alpn: "px", mode: "bidi" };
    let refusal = talk.say(&[&from_b], 1).await.unwrap_err();
    assert!(refusal.contains("it showed no certificate"), "{refusal}");
    // A certificate of another root.
    let others = Certificates::new();
    others.issue("b.example");
    std::fs::copy(certificates.path("ca.pem"), others.path("ca.pem")).unwrap();
    let refused = Talk { certificates: &others, own: Some("b.example"), ..talk }.say(&[&from_b], 1).await;
    assert!(refused.is_err());
    assert_eq!(counts.records.load(Ordering::Relaxed), 0);

    let (open, _) = certificates.start("a.example", "\"allow_without_certificate\": true,");
    let port = open.local_addr().unwrap().port();
    let talk =
        Talk { python: &python, certificates: &certificates, port, own: None, alpn: "px", mode: "uni" };
    assert_eq!(talk.say(&[&from_b], 1).await.unwrap(), [pong("b.example", 1)]);
}
