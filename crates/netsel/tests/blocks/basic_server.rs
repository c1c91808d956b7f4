use netsel::NetSelServer;
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
let server = NetSelServer::new();
server.start().await?;
Ok(())
}
