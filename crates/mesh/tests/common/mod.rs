#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "helpers of tests fail by panicking, like tests, and no test uses all of them"
)]
//! Authorities, certificates and nodes on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use portolan_mesh::{Config, KeyHash, Kind, Lane, Mesh, Naming, Peers, Sockets, StartError, Trust};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use state::{Publisher, Reader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;

pub const DOMAIN: &str = "blue.example";

/// A root with one intermediate, as a server of the cluster has.
pub struct Authority {
    pub root: CertificateDer<'static>,
    pub intermediate: CertificateDer<'static>,
    root_issuer: Issuer<'static, KeyPair>,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate is made of, beside its key.
#[derive(Clone)]
pub struct Leaf {
    pub uris: Vec<String>,
    pub dns: Vec<String>,
    pub from: SystemTime,
    pub until: SystemTime,
    /// Signed by the root itself.
    pub direct: bool,
}

pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub hash: KeyHash,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    pub fn new() -> Authority {
        let root_key = KeyPair::generate().unwrap();
        let root_params = authority_params("root");
        let root = root_params.self_signed(&root_key).unwrap().der().clone();
        let root_issuer = Issuer::new(root_params, root_key);
        let key = KeyPair::generate().unwrap();
        let params = authority_params("server");
        let intermediate = params.signed_by(&key, &root_issuer).unwrap().der().clone();
        Authority { root, intermediate, root_issuer, issuer: Issuer::new(params, key) }
    }

    pub fn root_hash(&self) -> KeyHash {
        KeyHash::of_certificate(&self.root).unwrap()
    }

    pub fn issue(&self, leaf: &Leaf) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "node");
        let uri = |uri: &String| SanType::URI(uri.as_str().try_into().unwrap());
        let dns = |dns: &String| SanType::DnsName(dns.as_str().try_into().unwrap());
        params.subject_alt_names = leaf.uris.iter().map(uri).chain(leaf.dns.iter().map(dns)).collect();
        params.not_before = leaf.from.into();
        params.not_after = leaf.until.into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let issuer = if leaf.direct { &self.root_issuer } else { &self.issuer };
        let cert = params.signed_by(&key, issuer).unwrap().der().clone();
        let hash = KeyHash::of_certificate(&cert).unwrap();
        let mut chain = vec![cert];
        if !leaf.direct {
            chain.push(self.intermediate.clone());
        }
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Identity { chain, key, hash }
    }

    pub fn node(&self, name: &str) -> Identity {
        self.issue(&Leaf::node(name))
    }

    pub fn trust(&self, identity: &Identity) -> Trust {
        let naming = Naming::Spiffe { domain: DOMAIN.to_owned() };
        Trust::new(naming, identity.chain.clone(), &identity.key, std::slice::from_ref(&self.root)).unwrap()
    }
}

impl Leaf {
    pub fn node(name: &str) -> Leaf {
        let now = SystemTime::now();
        Leaf {
            uris: vec![format!("spiffe://{DOMAIN}/node/{name}")],
            dns: Vec::new(),
            from: now - Duration::from_secs(3600),
            until: now + Duration::from_secs(86_400),
            direct: false,
        }
    }
}

/// A node with its knobs.
pub struct Node {
    pub mesh: Mesh,
    pub trust: Publisher<Trust>,
    pub peers: Publisher<Peers>,
    pub address: SocketAddr,
}

pub fn config() -> Config {
    Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        keepalive: Duration::from_millis(200),
        idle_timeout: Duration::from_secs(2),
        retry_first: Duration::from_millis(20),
        retry_cap: Duration::from_millis(300),
        ..Config::default()
    }
}

impl Node {
    pub fn start(trust: Trust) -> Node {
        Node::start_with(config(), trust)
    }

    pub fn start_with(config: Config, trust: Trust) -> Node {
        Node::try_start(config, trust).unwrap()
    }

    /// None while its port is taken.
    pub fn try_start(config: Config, trust: Trust) -> Option<Node> {
        Node::try_start_on(config, trust, Handle::current())
    }

    /// With its data links on `data`.
    pub fn try_start_on(config: Config, trust: Trust, data: Handle) -> Option<Node> {
        let (trust, trust_reader) = state::channel(trust);
        let (peers, peers_reader): (Publisher<Peers>, Reader<Peers>) = state::channel(Peers::default());
        let started = Sockets::bind(&config)
            .and_then(|sockets| Mesh::start_on(sockets, config, trust_reader, peers_reader, data));
        let mesh = match started {
            Ok(mesh) => mesh,
            Err(StartError::Bind { .. }) => return None,
            Err(other) => panic!("{other}"),
        };
        let address = mesh.local_addr().unwrap();
        Some(Node { mesh, trust, peers, address })
    }

    /// Makes this node dial those.
    pub fn dial(&self, others: &[&Node]) {
        let pair = |other: &&Node| (other.mesh.name(), [other.address.to_string()]);
        self.peers.publish(Peers::of(others.iter().map(pair)));
    }

    pub fn session(&self, peer: &str) -> Option<u64> {
        self.mesh.links().now().session(peer)
    }

    /// What went wrong last with a peer.
    pub fn error(&self, peer: &str) -> String {
        let links = self.mesh.links().now();
        let last = links.0.get(peer).and_then(|state| state.last_error.clone());
        last.map(|(_, text)| text).unwrap_or_default()
    }
}

pub async fn linked(a: &Node, b: &Node) {
    let (a_name, b_name) = (a.mesh.name(), b.mesh.name());
    until("the nodes are linked", || a.session(&b_name).is_some() && b.session(&a_name).is_some()).await;
}

/// Polls for at most 20 s.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..4000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("did not come about: {what}");
}

pub const ECHO: Kind = Kind::of("echo");

/// Gives back what arrives, and says on which lane it did.
pub fn echo(node: &Node) {
    let mut incoming = node.mesh.accept(ECHO);
    tokio::spawn(async move {
        while let Some(one) = incoming.recv().await {
            tokio::spawn(async move {
                let (mut receive, mut send) = one.stream.split();
                send.write_all(format!("{} by {:?}: ", one.peer, one.lane).as_bytes()).await.unwrap();
                let _ = tokio::io::copy(&mut receive, &mut send).await;
                let _ = send.shutdown().await;
            });
        }
    });
}

pub async fn ask(from: &Node, to: &str, lane: Lane) -> String {
    let mut stream = from.mesh.open(to, ECHO, lane).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
