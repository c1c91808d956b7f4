use std::net::{IpAddr, SocketAddr};
use netsel::{NetSelConfig, NetSelServer};
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
let config = NetSelConfig {
registry_addr: SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 9000),
tcp_proxy_addr: SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 8080),
http_proxy_addr: SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 8081),
dns_addr: SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 5353),
health_check_interval: 30,
max_heartbeat_age: 60,
};
let server = NetSelServer::with_config(config);
server.start().await?;
Ok(())
}
