//! Two nodes of a mesh.

use portolan_mesh::{Config, Kind, Lane, Mesh, Naming, Peers, Stream, Trust};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Opener, answer, loopback};

const BENCH: Kind = Kind::of("bench");

pub(crate) struct Meshed(Mesh, Lane);

impl Opener for Meshed {
    type Stream = Stream;

    async fn open(&self) -> Stream {
        self.0.open("b", BENCH, self.1).await.unwrap()
    }
}

struct Authority {
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().clone();
        Authority { root, issuer: Issuer::new(params, key) }
    }

    fn trust(&self, name: &str) -> Trust {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let uri = format!("spiffe://bench.example/node/{name}");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        let chain = vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let naming = Naming::Spiffe { domain: "bench.example".to_owned() };
        Trust::new(naming, chain, &key, std::slice::from_ref(&self.root)).unwrap()
    }
}

/// The same two nodes by a data link, and by TCP.
pub(crate) async fn connect() -> (Meshed, Meshed) {
    let authority = Authority::new();
    let there = authority.trust("b");
    let config = Config { listen: loopback(), ..Config::default() };
    let (tell, told) = tokio::sync::oneshot::channel();
    let other = config.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let (trust, peers) = (state::channel(there), state::channel(Peers::default()));
            let mesh = Mesh::start(other, trust.1, peers.1).unwrap();
            tell.send(mesh.local_addr().unwrap()).unwrap();
            let mut incoming = mesh.accept(BENCH);
            while let Some(one) = incoming.recv().await {
                tokio::spawn(answer(one.stream));
            }
        });
    });
    let address = told.await.unwrap().to_string();
    let trust = state::channel(authority.trust("a"));
    let peers = state::channel(Peers::of([("b", [address])]));
    let mesh = Mesh::start(config, trust.1, peers.1).unwrap();
    let mut links = mesh.links();
    while links.now().session("b").is_none() {
        links.next().await.unwrap();
    }
    (Meshed(mesh.clone(), Lane::Data), Meshed(mesh, Lane::Bulk))
}
