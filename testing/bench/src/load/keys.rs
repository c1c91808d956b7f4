//! Clients of a key-value store, ours or etcd, each through its native API.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};

use super::{Client, etcd, http as web};
use crate::subject::trio::{Kind, Trio};

/// Bytes of every value.
const VALUE: usize = 200;

/// Keys that are there to be read.
pub(crate) const KEYS: u64 = 1000;

/// Clients of etcd share so many connections to each server, as its own client library does; each of ours has one
/// of its own, as HTTP clients do.
const SHARED: usize = 8;

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// Put; answered when a majority has it on disk.
    Write,
    /// Read what was decided before the read began.
    Linearizable,
    /// Read what the asked server has.
    Stale,
}

/// A way to one server.
pub(crate) enum Connection {
    Portolan(web::Connection),
    Etcd(etcd::Connection),
}

/// A connection that does one thing over and over.
pub(crate) struct KeyClient {
    connection: Connection,
    op: Op,
}

impl Connection {
    pub(crate) async fn open(kind: Kind, server: SocketAddr, token: Option<&str>) -> Result<Connection> {
        Ok(match kind {
            Kind::Portolan => Connection::Portolan(web::Connection::open(server).await?.with_token(token)?),
            Kind::Etcd => Connection::Etcd(etcd::Connection::open(server).await?),
        })
    }

    /// Carries out one operation on key `number`.
    pub(crate) async fn carry_out(&mut self, op: Op, number: u64) -> Result<()> {
        let key = format!("bench/key-{number:09}");
        match (self, op) {
            (Connection::Portolan(web), Op::Write) => {
                web.put(&format!("/v1/kv/{key}"), value(number)).await.map(drop)
            }
            (Connection::Portolan(web), op) => {
                let mode = if op == Op::Stale { "stale" } else { "consistent" };
                let (status, body) =
                    web.send(Method::GET, &format!("/v1/kv/{key}?raw&{mode}"), Bytes::new()).await?;
                ensure!(status == StatusCode::OK && body.len() == VALUE, "GET {key}: {status}");
                Ok(())
            }
            (Connection::Etcd(etcd), Op::Write) => etcd.put(key.as_bytes(), &value(number)).await,
            (Connection::Etcd(etcd), op) => {
                let bytes = etcd.get(key.as_bytes(), op == Op::Stale).await?;
                ensure!(bytes > VALUE, "{key} is not there");
                Ok(())
            }
        }
    }
}

fn value(number: u64) -> Bytes {
    Bytes::from(vec![b'a' + (number % 26) as u8; VALUE])
}

impl Client for KeyClient {
    async fn step(&mut self, number: u64) -> Result<()> {
        let key = if self.op == Op::Write { number } else { number % KEYS };
        self.connection.carry_out(self.op, key).await
    }
}

/// So many clients, evenly over the three servers.
pub(crate) async fn clients(trio: &Trio, op: Op, count: usize) -> Result<Vec<KeyClient>> {
    let (addresses, mut etcds) = (trio.addresses(), Vec::new());
    let mut clients = Vec::with_capacity(count);
    for at in 0..count {
        let server = addresses[at % addresses.len()];
        let connection = match trio.kind {
            Kind::Etcd if at >= SHARED * addresses.len() => Connection::Etcd(shared(&etcds, at)),
            kind => Connection::open(kind, server, trio.token.as_deref()).await?,
        };
        if let Connection::Etcd(etcd) = &connection {
            etcds.push(etcd.clone());
        }
        clients.push(KeyClient { connection, op });
    }
    Ok(clients)
}

/// One of the first connections, to the server whose turn it is.
fn shared(etcds: &[etcd::Connection], at: usize) -> etcd::Connection {
    etcds[at % (SHARED * 3)].clone()
}

/// Writes the keys that reads look for.
pub(crate) async fn fill(trio: &Trio) -> Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for first in 0..8 {
        let server = trio.addresses()[0];
        let mut connection = Connection::open(trio.kind, server, trio.token.as_deref()).await?;
        tasks.spawn(async move {
            for number in (first..KEYS).step_by(8) {
                connection.carry_out(Op::Write, number).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
