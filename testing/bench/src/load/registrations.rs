//! Registrations as a service of ordinary size sends them, and the same bytes for whom they are compared with.

use std::net::SocketAddr;

use anyhow::Result;
use bytes::Bytes;

use super::http::Connection;

/// A registration's body, about 200 bytes.
pub(crate) fn body(service: &str, id: &str, number: u64) -> Bytes {
    let port = 1024 + number % 60_000;
    let address = format!("10.{}.{}.{}", number >> 16 & 0xff, number >> 8 & 0xff, number & 0xff);
    format!(
        "{{\"ID\":\"{id}\",\"Name\":\"{service}\",\"Address\":\"{address}\",\"Port\":{port},\
         \"Tags\":[\"v1\",\"zone-{}\"],\"Meta\":{{\"version\":\"1.4.{}\",\"commit\":\"{:016x}\"}}}}",
        number % 3,
        number % 50,
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
    )
    .into()
}

/// Registers with the agent.
pub(crate) async fn register(
    connection: &mut Connection,
    service: &str,
    id: &str,
    number: u64,
) -> Result<()> {
    connection.put("/v1/agent/service/register", body(service, id, number)).await?;
    Ok(())
}

/// Registers `count` instances of `services` services over `clients` connections.
pub(crate) async fn fill(api: SocketAddr, count: u64, services: u64, clients: u64) -> Result<()> {
    fill_with(api, None, count, services, clients).await
}

/// The same where a token is asked for.
pub(crate) async fn fill_with(
    api: SocketAddr,
    token: Option<&str>,
    count: u64,
    services: u64,
    clients: u64,
) -> Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        let mut connection = Connection::open(api).await?.with_token(token)?;
        tasks.spawn(async move {
            for number in (client..count).step_by(clients as usize) {
                let service = format!("service-{}", number % services);
                register(&mut connection, &service, &format!("instance-{number}"), number).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
