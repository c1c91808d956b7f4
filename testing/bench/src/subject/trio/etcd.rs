//! Debian's etcd, three members, as it comes.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, anyhow};
use tempfile::TempDir;

use super::{Kind, LIMIT, Recipe, Server, Trio, loopback};
use crate::harness::cores::Cores;
use crate::subject::ask;
use crate::subject::etcd::program;

pub(super) fn start(folder: TempDir, cores: &Cores) -> Result<Trio> {
    let clients = [loopback()?, loopback()?, loopback()?];
    let peers = [loopback()?, loopback()?, loopback()?];
    let all = peers.iter().enumerate().map(|(at, peer)| format!("n{at}=http://{peer}"));
    let all = all.collect::<Vec<_>>().join(",");
    let mut servers = Vec::new();
    for (at, (client, peer)) in clients.iter().zip(&peers).enumerate() {
        let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
        let data = folder.path().join(format!("n{at}"));
        let mut arguments = vec!["--data-dir".into(), data.into_os_string()];
        let flags = [
            ("--name", format!("n{at}")),
            ("--listen-client-urls", client_url.clone()),
            ("--advertise-client-urls", client_url),
            ("--listen-peer-urls", peer_url.clone()),
            ("--initial-advertise-peer-urls", peer_url),
            ("--initial-cluster", all.clone()),
            ("--log-level", "error".to_owned()),
        ];
        arguments.extend(flags.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]));
        let recipe = Recipe { program: program()?, arguments, environment: Vec::new() };
        let process = Some(recipe.start(cores)?);
        servers.push(Server { address: *client, recipe, process });
    }
    let listening = || clients.iter().all(|client| TcpStream::connect(client).is_ok()).then_some(());
    peers::until(LIMIT, "etcd to answer", listening).map_err(|timeout| anyhow!("{timeout}"))?;
    Ok(Trio { kind: Kind::Etcd, token: None, servers, folder })
}

/// What a member says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Status {
    pub(super) member: u64,
    pub(super) leader: u64,
}

/// Through the JSON gateway: this is not what is measured.
pub(super) fn status(client: SocketAddr) -> Option<Status> {
    let answer = ask::json(client, Duration::from_secs(1), "POST", "/v3/maintenance/status", "{}")?;
    let number = |value: &serde_json::Value| value.as_str()?.parse::<u64>().ok();
    let (member, leader) = (number(&answer["header"]["member_id"])?, number(&answer["leader"])?);
    (leader != 0).then_some(Status { member, leader })
}
