//! NetSel's server: `cargo run --example netsel_server`, then `service_b`, then `test_client`.

use netsel::{NetSelConfig, NetSelServer};
use tokio::signal;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = NetSelConfig::default();
    println!("Starting NetSel Service...");
    let server = NetSelServer::with_config(config.clone());
    server.start().await?;

    println!("NetSel Service started successfully!");
    println!("- Registration server: {}", config.registry_addr);
    println!("- TCP proxy: {}", config.tcp_proxy_addr);
    println!("- HTTP proxy: {}", config.http_proxy_addr);
    println!("- DNS server: {}", config.dns_addr);

    signal::ctrl_c().await?;
    println!("Shutting down NetSel Service...");
    server.stop().await?;
    Ok(())
}
