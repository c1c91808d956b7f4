//! A question and its answer in datagrams, asked again when it gets lost.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use super::MapError;

/// How long the answer to each try is waited for: 250 ms and twice as long each time, as RFC 6886 section
/// 3.1 begins. It goes on for a minute; a router on our own network that is silent for 2 s does not speak
/// the language.
const TRIES: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_millis(1000)];
/// Longest packet of either protocol: RFC 6887 section 7.
const MAX_PACKET: usize = 1100;

/// Asks until `accept` takes an answer.
pub(super) async fn ask<T>(
    from: IpAddr,
    router: SocketAddr,
    packet: &[u8],
    accept: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, MapError> {
    let silent = |cause: std::io::Error| MapError::Silent(format!("{router}: {cause}"));
    let socket = UdpSocket::bind((from, 0)).await.map_err(silent)?;
    // Connected: a closed port is known at once, and nobody else's datagrams arrive.
    socket.connect(router).await.map_err(silent)?;
    let mut buffer = [0; MAX_PACKET];
    for wait in TRIES {
        socket.send(packet).await.map_err(silent)?;
        let answer = tokio::time::timeout(wait, async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                if let Some(answer) = accept(&buffer[..length]) {
                    return Ok(answer);
                }
            }
        });
        match answer.await {
            Ok(answer) => return answer.map_err(silent),
            Err(_) => continue,
        }
    }
    Err(MapError::Silent(format!("{router} did not answer {} datagrams", TRIES.len())))
}
