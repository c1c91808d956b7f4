//! Whether somebody answers behind a port that the world is led to: a connection to our own address, closed at
//! once. What listens on loopback alone is not reached from outside either.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// On the same host it takes microseconds.
const LIMIT: Duration = Duration::from_secs(1);

/// Answer of each port, by its number.
pub(crate) type Answers = BTreeMap<u16, Result<(), String>>;

/// Asks the ports that did not answer yet, and forgets those that are not `wanted`. One that answered is not
/// asked again: its health is somebody else's to judge.
pub(crate) async fn ask(host: IpAddr, wanted: &BTreeSet<u16>, answers: &mut Answers) {
    answers.retain(|port, _| wanted.contains(port));
    let open: Vec<u16> =
        wanted.iter().copied().filter(|port| !matches!(answers.get(port), Some(Ok(())))).collect();
    for some in open.chunks(64) {
        let mut tasks: JoinSet<_> = some.iter().map(|port| one(host, *port)).collect();
        while let Some(Ok((port, answer))) = tasks.join_next().await {
            answers.insert(port, answer);
        }
    }
}

async fn one(host: IpAddr, port: u16) -> (u16, Result<(), String>) {
    let connect = tokio::time::timeout(LIMIT, TcpStream::connect((host, port))).await;
    let answer = match connect {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(cause)) if cause.kind() == io::ErrorKind::ConnectionRefused => Err(format!(
            "nobody listens on {host}:{port}: what listens on 127.0.0.1 alone is not reached from outside"
        )),
        Ok(Err(cause)) => Err(format!("connect to {host}:{port}: {cause}")),
        Err(_) => Err(format!("{host}:{port} does not answer within {LIMIT:?}")),
    };
    (port, answer)
}
