//! The server's and the client's own behaviour, on free ports.

use std::net::{Ipv4Addr, SocketAddr};

use netsel::client::{Error, ServiceClient};
use netsel::{NetSelConfig, NetSelServer, StartError};
use tokio::net::TcpListener;

fn on_free_ports() -> NetSelConfig {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    NetSelConfig {
        registry_addr: free,
        tcp_proxy_addr: free,
        http_proxy_addr: free,
        dns_addr: free,
        ..NetSelConfig::default()
    }
}

#[test]
fn the_defaults_are_the_seeds() {
    let config = NetSelConfig::default();
    let addresses = [config.registry_addr, config.tcp_proxy_addr, config.http_proxy_addr, config.dns_addr];
    let expected = ["0.0.0.0:9000", "0.0.0.0:8080", "0.0.0.0:8081", "127.0.0.1:5353"];
    assert_eq!(addresses.map(|address| address.to_string()), expected);
    assert_eq!((config.health_check_interval, config.max_heartbeat_age), (30, 60));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_lives_from_its_registration_to_the_servers_end() {
    let server = NetSelServer::with_config(on_free_ports());
    assert_eq!(server.serving(), None);
    server.start().await.unwrap();
    let serving = server.serving().unwrap();
    assert!(matches!(server.start().await, Err(StartError::Started)));

    let client = ServiceClient::new(serving.registry_addr, "web".into());
    assert!(matches!(client.send_heartbeat().await, Err(Error::NotRegistered { .. })));
    assert_eq!(client.look_up().await.unwrap(), None);
    let (ip, port) = client.register().await.unwrap();
    assert!(ip.to_string().starts_with("127.77."), "{ip}");
    client.clone().send_heartbeat().await.unwrap();
    drop(client.clone());
    let (address, _) = client.look_up().await.unwrap().expect("dropping a client deregisters nothing");
    assert_eq!(address, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));

    let wrong = ServiceClient::new(serving.registry_addr, "not a name".into());
    let error = wrong.register().await.unwrap_err();
    assert!(matches!(&error, Error::Refused { reason, .. } if reason.contains("not allowed")), "{error}");
    let long = ServiceClient::new(serving.registry_addr, "x".repeat(300));
    assert!(matches!(long.register().await, Err(Error::TooLong { .. })));

    server.stop().await.unwrap();
    assert!(matches!(client.send_heartbeat().await, Err(Error::Io { .. })));
    server.start().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = holder.local_addr().unwrap();
    let server = NetSelServer::with_config(NetSelConfig { registry_addr: taken, ..on_free_ports() });
    let error = server.start().await.unwrap_err().to_string();
    assert!(error.contains(&taken.to_string()), "{error}");
    drop(holder);
    server.start().await.expect("it may be tried again");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_server_goes_on() {
    let server = NetSelServer::with_config(on_free_ports());
    server.start().await.unwrap();
    let registry = server.serving().unwrap().registry_addr;
    drop(server);
    ServiceClient::new(registry, "web".into()).register().await.unwrap();
}
