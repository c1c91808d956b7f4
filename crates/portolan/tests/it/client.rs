//! The client crate against a real node.

use std::net::SocketAddr;
use std::time::Duration;

use ::client::{Check, Client, Service, State, Status, Watch};
use portolan::config::Config;
use portolan::{Running, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

async fn node() -> (Running, Client) {
    let node = Server::in_memory().ephemeral_ports().start().await.unwrap();
    let client = Client::new(node.addresses().http[0].into());
    (node, client)
}

/// A server that greets; returns its address.
async fn greeter() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"hello").await;
        }
    });
    address
}

/// Waits for a list of so many instances.
async fn until(watch: &mut Watch, count: usize) {
    let wanted = async { while watch.next().await.len() != count {} };
    timeout(PATIENCE, wanted).await.expect("the list comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_found_while_it_lives() {
    let (node, client) = node().await;
    let greeter = greeter().await;
    let mut watch = client.watch("greeter");
    until(&mut watch, 0).await;
    let check = Check::tcp(greeter).interval(Duration::from_secs(1));
    let service = Service::new("greeter").address(greeter.ip()).port(greeter.port()).tag("v1").check(check);
    let registration = service.register(&client).await.unwrap();
    until(&mut watch, 1).await;

    let mut stream = client.connect("greeter").await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "hello");
    assert_eq!(client.services().await.unwrap()["greeter"], ["v1"]);
    let known_as = client.virtual_address("greeter").await.unwrap().expect("a virtual address");
    assert!(known_as.ip().to_string().starts_with("127.77."), "{known_as}");

    registration.deregister().await.unwrap();
    until(&mut watch, 0).await;
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_and_reports_decide() {
    let (node, client) = node().await;
    // Nobody renews this one.
    let short = Service::new("brief").port(1).lease(Duration::from_millis(1500));
    let mut brief = client.watch("brief");
    short.register_once(&client).await.unwrap();
    until(&mut brief, 1).await;
    until(&mut brief, 0).await;
    assert!(client.renew("brief-1").await.unwrap_err().is_not_found());

    // The guard renews this one, and it reports on itself.
    let term = Duration::from_secs(60);
    let service = Service::new("web").port(80).lease(Duration::from_secs(3)).check(Check::ttl(term));
    let registration = service.register(&client).await.unwrap();
    let mut web = client.watch("web");
    until(&mut web, 0).await;
    registration.report(Status::Passing, "fine").await.unwrap();
    until(&mut web, 1).await;
    registration.report(Status::Critical, "broken").await.unwrap();
    until(&mut web, 0).await;
    assert_eq!(client.instances("web").await.unwrap()[0].status, Status::Critical);
    drop(registration);
    let mut all = client.watch_all("web");
    until(&mut all, 0).await;
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_outlives_a_node_that_forgets() {
    let (first, client) = node().await;
    let address = first.addresses().http[0];
    let service = Service::new("web").port(80).lease(Duration::from_secs(1));
    let registration = service.register(&client).await.unwrap();
    let mut state = registration.state();
    first.shutdown().await.unwrap();
    timeout(PATIENCE, state.wait_for(|state| *state != State::Registered)).await.unwrap().unwrap();

    let mut config = Config::default();
    config.api.listen = vec![address];
    config.dns.listen = vec![];
    config.proxy.named = vec![];
    config.proxy.http.listen = vec![];
    let second = Server::in_memory().config(config).start().await.unwrap();
    let mut watch = client.watch("web");
    until(&mut watch, 1).await;
    registration.deregister().await.unwrap();
    second.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_kept_with_their_bytes() {
    let (node, client) = node().await;
    let kv = client.kv();
    let bytes = vec![0, 159, 146, 150, b'\n'];
    kv.put("a/odd key?", bytes.clone()).await.unwrap();
    let key = kv.get("a/odd key?").await.unwrap().expect("it is there");
    assert_eq!((&*key.key, &key.value[..]), ("a/odd key?", &bytes[..]));
    assert!(kv.put_if("a/odd key?", key.index, "two").await.unwrap());
    assert!(!kv.put_if("a/odd key?", key.index, "three").await.unwrap());
    assert!(!kv.put_if("a/odd key?", 0, "four").await.unwrap());
    assert_eq!(kv.list("a/").await.unwrap().len(), 1);
    kv.delete_all("a/").await.unwrap();
    assert_eq!(kv.get("a/odd key?").await.unwrap(), None);
    assert_eq!(kv.list("").await.unwrap(), []);
    node.shutdown().await.unwrap();
}
