//! Three px nodes, as their files say: lines in on any, out on all in the same order, while one is killed and comes
//! back.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};

use crate::support::{PROGRAM, eventually};

const NAMES: [&str; 3] = ["a.example", "b.example", "c.example"];

/// Certificates and files of three nodes.
struct Cluster {
    folder: tempfile::TempDir,
}

impl Cluster {
    /// With certificates by `portolan ca issue`.
    fn new() -> Cluster {
        let cluster = Cluster { folder: tempfile::tempdir().unwrap() };
        for name in NAMES {
            let mut command = Command::new(PROGRAM);
            command.args(["ca", "issue", name, "--days", "30", "--out"]).arg(cluster.folder.path());
            let output = command.arg("--data-dir").arg(cluster.folder.path().join("none")).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        cluster.with_files()
    }

    /// With those of a user's own private root.
    fn of_a_private_root() -> Cluster {
        let cluster = Cluster { folder: tempfile::tempdir().unwrap() };
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "a private root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        cluster.write("ca.pem", &params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        for name in NAMES {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new([name.to_owned()]).unwrap();
            cluster.write(&format!("{name}.pem"), &params.signed_by(&key, &issuer).unwrap().pem());
            cluster.write(&format!("{name}.key"), &key.serialize_pem());
        }
        cluster.with_files()
    }

    fn with_files(self) -> Cluster {
        // Held together, so that no two are the same; free again when the nodes start.
        let sockets = NAMES.map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        let ports = sockets.each_ref().map(|socket| socket.local_addr().unwrap().port());
        for at in 0..NAMES.len() {
            self.write(&format!("{at}.json"), &file(at, &ports));
        }
        self
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn file(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("{at}.json"))
    }

    fn start(&self, at: usize, more: &[&str]) -> Node {
        Node::start(&self.file(at), self.folder.path(), more)
    }
}

/// In the seed's form, comments and all.
fn file(at: usize, ports: &[u16; 3]) -> String {
    let name = NAMES[at];
    let others = (0..3).filter(|other| *other != at);
    let servers = others.map(|other| {
        format!(r#"{{ "addr": "localhost:{}", "server_name": "{}" }}"#, ports[other], NAMES[other])
    });
    format!(
        r#"{{
"me": {{
"id": "{name}", // server id
"addr": "127.0.0.1:{}",
"tls_config_info": {{ "cert_path": "{name}.pem", "key_path": "{name}.key", "ca_cert_path": "ca.pem" }}
}},
"retry_delay": 100,
"servers": [ {} ]
}}"#,
        ports[at],
        servers.collect::<Vec<_>>().join(", ")
    )
}

/// A node as a child process. Dropping it kills it.
struct Node {
    child: Child,
    input: ChildStdin,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Node {
    fn start(file: &Path, data: &Path, more: &[&str]) -> Node {
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--px"]).arg(file).arg("--data-dir").arg(data).args(more);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let collected = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                collected.lock().unwrap().push(line);
            }
        });
        Node { child, input, lines }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
        self.input.flush().unwrap();
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn has(&self, text: &str) -> bool {
        self.lines().iter().any(|line| line.ends_with(&format!("\t{text}")))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All of `nodes` have printed the last line of each of `texts`.
fn all_have(nodes: &[&Node], texts: &[String]) {
    for text in texts {
        eventually(text, || nodes.iter().all(|node| node.has(text)).then_some(()));
    }
}

#[test]
fn lines_come_out_in_one_order_while_a_node_dies_and_returns() {
    let cluster = Cluster::new();
    let mut nodes: Vec<Node> = (0..3).map(|at| cluster.start(at, &[])).collect();
    let mut expected = Vec::new();
    for round in 0..20 {
        for (at, node) in nodes.iter_mut().enumerate() {
            let text = format!("line {round} of {at}");
            node.say(&text);
            expected.push(text);
        }
    }
    all_have(&[&nodes[0], &nodes[1], &nodes[2]], &expected);
    assert_eq!(nodes[0].lines(), nodes[1].lines());
    assert_eq!(nodes[0].lines(), nodes[2].lines());
    assert_eq!(nodes[0].lines().len(), expected.len(), "each line once");

    // Killed; two are enough.
    drop(nodes.remove(0));
    let mut later = Vec::new();
    for round in 0..10 {
        for node in &mut nodes {
            let text = format!("without it {round} of {}", node.child.id());
            node.say(&text);
            later.push(text);
        }
    }
    all_have(&[&nodes[0], &nodes[1]], &later);
    // It comes back, and prints everything from the beginning when asked.
    let mut back = cluster.start(0, &["--from", "1"]);
    back.say("here again");
    let all: Vec<String> = expected.into_iter().chain(later).chain(["here again".to_owned()]).collect();
    all_have(&[&back, &nodes[0], &nodes[1]], &all);
    assert_eq!(back.lines(), nodes[0].lines());
    assert_eq!(back.lines(), nodes[1].lines());
}

#[test]
fn no_more_is_kept_than_the_file_says() {
    let cluster = Cluster::new();
    for at in 0..3 {
        let text = std::fs::read_to_string(cluster.file(at)).unwrap();
        let text = text.replacen("\"servers\"", "\"retention\": { \"max_count\": 20 },\n\"servers\"", 1);
        std::fs::write(cluster.file(at), text).unwrap();
    }
    let mut nodes: Vec<Node> = (0..3).map(|at| cluster.start(at, &[])).collect();
    nodes[2].say("early");
    all_have(&[&nodes[0], &nodes[1], &nodes[2]], &["early".to_owned()]);
    // One is away for longer than the others keep single lines.
    drop(nodes.pop());
    for number in 0..1_200 {
        nodes[0].say(&format!("line {number}"));
    }
    nodes[1].say("from the other");
    all_have(&[&nodes[0], &nodes[1]], &["line 1199".to_owned(), "from the other".to_owned()]);
    let mut back = cluster.start(2, &["--from", "1"]);
    back.say("here again");
    all_have(&[&back, &nodes[0]], &["here again".to_owned()]);
    let (few, all) = (back.lines(), nodes[0].lines());
    assert!(few.len() < all.len(), "{} lines of {} came back", few.len(), all.len());
    assert!(all.ends_with(&few[few.len() - 20..]), "the newest are there, in the same order");
    // And one that only looks at its own.
    drop(nodes);
    let (again, _other) = (cluster.start(0, &["--from", "1"]), cluster.start(1, &[]));
    all_have(&[&again], &["here again".to_owned()]);
    assert!(!again.has("line 0"), "what is not kept does not come back");
}

#[test]
fn certificates_of_a_private_root_do_as_well() {
    let cluster = Cluster::of_a_private_root();
    let mut nodes: Vec<Node> = (0..3).map(|at| cluster.start(at, &[])).collect();
    for (at, node) in nodes.iter_mut().enumerate() {
        node.say(&format!("from {at}"));
    }
    all_have(&[&nodes[0], &nodes[1], &nodes[2]], &["from 0", "from 1", "from 2"].map(str::to_owned));
    assert_eq!(nodes[0].lines(), nodes[1].lines());
    assert_eq!(nodes[0].lines(), nodes[2].lines());
}

#[test]
fn a_wrong_file_is_told_with_its_place_and_the_file_alone_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("px.json");
    std::fs::write(&file, "{ // a comment\n \"mee\": {} }").unwrap();
    for arguments in [&["serve", "--px"][..], &[]] {
        let output = Command::new(PROGRAM).args(arguments).arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("px.json:2:") && told.contains("did you mean `me`?"), "{told}");
    }
}
