//! Two nodes over the real mesh on loopback: one joins the other, dies, is missed, and comes back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use catalog::{
    Candidate, CheckRegistration, ClusterCommand, Command, InitialStatus, KeyHash, NodeDef, NodeRegistration,
    Register, Role, Status,
};
use futures_util::future::BoxFuture;
use mesh::{Mesh, Naming, Peers, Trust};
use portolan_cluster::init::{Options, founding, init};
use portolan_cluster::join::{Desk, Door, join};
use portolan_cluster::life::{self, MeshVoice};
use portolan_cluster::token::{Wish, create};
use portolan_cluster::{Credentials, Identity, Local, time};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use store::Store;
use tempfile::tempdir;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

struct MeshDoor;

impl Door for MeshDoor {
    fn call<'a>(
        &'a self,
        address: &'a str,
        roots: &'a [KeyHash],
        request: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, String>> {
        Box::pin(async move {
            let reply = mesh::join::call(&[address.to_owned()], mesh::KeyHash(roots[0].0), &request).await;
            reply.map(Bytes::from).map_err(|error| error.to_string())
        })
    }
}

fn trust(credentials: &Credentials) -> Trust {
    let der = |der: &Vec<u8>| CertificateDer::from(der.clone());
    let chain = credentials.chain.iter().map(der).collect();
    let roots: Vec<_> = credentials.roots.iter().map(der).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(credentials.key.to_vec()));
    let naming = Naming::Spiffe { domain: credentials.cluster.clone() };
    Trust::new(naming, chain, &key, &roots).unwrap()
}

fn config(listen: SocketAddr) -> mesh::Config {
    mesh::Config { listen, carrier: false, ..mesh::Config::default() }
}

/// A node's mesh with what judges life on it. Ends when it is dropped.
struct Running {
    mesh: Mesh,
    life: JoinHandle<()>,
    _kept: (state::Publisher<Trust>, state::Publisher<Peers>, state::DrainTrigger),
}

impl Running {
    fn start(sockets: mesh::Sockets, local: &Local, store: &Store, leads: bool) -> Running {
        let address = sockets.local_addr().unwrap();
        let (trust, trusted) = state::channel(trust(&local.credentials().now()));
        let (peers, known) = state::channel(Peers((*local.peers().now()).clone()));
        let mesh = Mesh::start_on(sockets, config(address), trusted, known, Handle::current()).unwrap();
        let (voice, heard) = MeshVoice::new(mesh.clone());
        let (trigger, drain) = state::drain();
        let fast = life::Config {
            beat: Duration::from_millis(200),
            suspect_after: Duration::from_millis(2500),
            dead_after: Duration::from_secs(4),
            probe_time: Duration::from_millis(500),
            ..life::Config::default()
        };
        let run = life::run(fast, store.clone(), Arc::new(voice), heard, move || leads, drain);
        Running { mesh, life: tokio::spawn(run), _kept: (trust, peers, trigger) }
    }

    async fn kill(self) {
        self.life.abort();
        self.mesh.close(Duration::from_secs(1)).await;
    }
}

fn bind(address: SocketAddr) -> mesh::Sockets {
    mesh::Sockets::bind(&config(address)).unwrap()
}

fn node(name: &str) -> Command {
    let def = NodeDef::new(name.into(), "127.0.0.1".into());
    let status = InitialStatus::Set(Status::Passing);
    let checks = vec![CheckRegistration { def: catalog::liveness_check(), status, output: "".into() }];
    let node = Some(NodeRegistration { def, only_if_absent: false });
    Command::Register(Box::new(Register { node, on: name.into(), instance: None, checks }))
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waited).await.is_ok(), "{what} did not come to pass");
}

async fn memory(name: &str, begin: &Identity) -> Store {
    let (log, events) = log::memory::open(log::memory::Config::default());
    let store = store::open(store::Config::new(name), log, events).await.unwrap();
    store.submit(founding(begin).unwrap().unwrap()).await.unwrap();
    store
}

/// What the order would have told the second node, in a store of its own.
async fn mirror(begin: &Identity, second: &Identity) -> Store {
    let store = memory("b", begin).await;
    let hash = KeyHash([7; 32]);
    let (uses, expires_ms, role) = (1, u64::MAX, Role::Agent);
    let secret = ClusterCommand::CreateJoinSecret { hash, uses, expires_ms, role };
    store.submit(Command::Cluster(secret)).await.unwrap();
    let candidate =
        Candidate { name: "b".into(), role, disk: 0, addresses: vec![], key: second.key.hash(), features: 1 };
    let admit = ClusterCommand::Admit { secret: hash, candidate, issuer: None };
    store.submit(Command::Cluster(admit)).await.unwrap();
    store
}

#[tokio::test]
async fn a_node_joins_dies_and_comes_back() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (homes, sockets) = ([tempdir().unwrap(), tempdir().unwrap()], [bind(any), bind(any)]);
    let addresses = sockets.each_ref().map(|sockets| sockets.local_addr().unwrap());
    let now_ms = (time::system())();
    let own = vec![addresses[0].to_string()];
    let begun = init(homes[0].path(), &Options { name: "a".into(), addresses: own.clone() }, now_ms).unwrap();
    let store = memory("a", &begun.identity).await;
    let (cluster, root) = (begun.identity.facts.cluster.clone(), begun.identity.root_hash().unwrap());
    let local = Local::new(Identity::load(homes[0].path()).unwrap());
    local.follow(&store.now()).unwrap();
    let [first, second] = sockets;
    let a = Running::start(first, &local, &store, true);
    let desk = Arc::new(Desk::new(store.clone(), local.clone(), time::system()));
    a.mesh.on_join(move |request| {
        let desk = desk.clone();
        async move { Ok(desk.answer(&request.bytes).await.to_vec()) }
    });

    let wish = Wish { role: Role::Agent, ..Wish::default() };
    let (token, command) = create(&cluster, root, own, &wish, now_ms).unwrap();
    store.submit(command).await.unwrap();
    // Somebody whose root is another never hears the secret.
    let mut foreign = token.clone();
    foreign.root = KeyHash([1; 32]);
    let options = portolan_cluster::join::Options {
        name: "b".into(),
        addresses: vec![addresses[1].to_string()],
        role: None,
        order: String::new(),
    };
    let refused = join(homes[1].path(), &foreign, &options, &MeshDoor, now_ms).await.unwrap_err();
    assert!(refused.to_string().contains("none of the addresses answered"), "{refused}");
    let (joined, _) = join(homes[1].path(), &token, &options, &MeshDoor, now_ms).await.unwrap();

    let other = mirror(&begun.identity, &joined).await;
    let joined = Local::new(joined);
    let b = Running::start(second, &joined, &other, false);
    for name in ["a", "b"] {
        store.submit(node(name)).await.unwrap();
    }
    let linked = |mesh: &Mesh| mesh.links().now().0.get("b").is_some_and(|link| link.up.is_some());
    eventually("the link", || linked(&a.mesh)).await;
    b.kill().await;
    eventually("the verdict", || store.now().down("b").is_some()).await;
    let b = Running::start(bind(addresses[1]), &joined, &other, false);
    eventually("its return", || store.now().down("b").is_none()).await;
    assert_eq!(store.now().check("b", catalog::LIVENESS_CHECK).unwrap().status, Status::Passing);
    b.kill().await;
    a.kill().await;
}
