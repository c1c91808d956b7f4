use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use tokio::time::Duration;
use netsel::client::ServiceClient;
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
let service_a_addr = SocketAddr::from_str("127.0.0.1:9000")?;
let hostname = "my-service";
// Create service client
let mut client = ServiceClient::new(service_a_addr, hostname.to_string());
// Register with Service A
let (assigned_ip, assigned_port) = client.register().await?;
let assigned_addr = SocketAddr::new(assigned_ip, assigned_port);
println!("Successfully registered! Assigned address: {}", assigned_addr);
// Start heartbeats
let heartbeat_client = client.clone();
tokio::spawn(async move {
loop {
if let Err(e) = heartbeat_client.send_heartbeat().await {
eprintln!("Heartbeat failed: {}", e);
}
tokio::time::sleep(Duration::from_secs(10)).await;
}
});
// ... start your service logic
Ok(())
}
