//! Where `init` and `join` do their work: in the daemon that runs, or in the data directory of none.

use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::anyhow;
use client::{Address, Client};
use consul::own::{ClusterStatus, Member};

use super::sources::SourceArgs;
use crate::cli::Global;
use crate::config::{Config, load};
use crate::daemon::home::Home;
use crate::exit::{Exit, Failure, Result};
use crate::remote::Remote;

/// How long a new server may take until it votes.
const VOTE: Duration = Duration::from_secs(10);
/// Between two looks at a daemon that starts again.
const AGAIN: Duration = Duration::from_millis(50);
/// How long a daemon on this host may take to say where it lives.
const ASKED: Duration = Duration::from_secs(2);

/// Where a node becomes a member.
pub(crate) enum Where {
    /// In a daemon.
    Running(Remote),
    /// In a data directory that nobody uses.
    Idle(Home, Box<Config>),
}

impl Where {
    /// The daemon that was named, else the one that has this data directory, else the directory itself: as whoever
    /// owns it, and not beside a daemon that serves this configuration's API from another directory.
    pub(crate) async fn find(sources: &SourceArgs, global: &Global) -> Result<Where> {
        let config = load(&sources.sources()?)?.config;
        let dir = &config.node.data_dir;
        if let Some(remote) = Remote::named(global, dir)? {
            return Where::running(remote, sources).await;
        }
        for at in &config.api.listen {
            match ask_where(*at).await {
                None => {}
                // It has no socket in its directory, or one that we may not use.
                Some((LivesIn::Directory(same), client)) if same == *dir => {
                    return Where::running(Remote::at(global, client), sources).await;
                }
                Some((other, _)) => return Err(beside(*at, &other, dir)),
            }
        }
        go_on_as_owner(dir)?;
        let home = Home::claim(dir).map_err(|cause| {
            let advice = "the daemon that has it answers on no Unix socket there: name its API with --api";
            Failure::new(Exit::Failure, cause).advise(advice)
        })?;
        Ok(Where::Idle(home, Box::new(config)))
    }

    /// A daemon has its name already.
    async fn running(remote: Remote, sources: &SourceArgs) -> Result<Where> {
        if let Some(wanted) = sources.node() {
            let own = remote.get::<ClusterStatus>("/v1/portolan/status").await?.value.own;
            if &*own.node != wanted {
                let cause = anyhow!("--node {wanted}: the daemon that runs here is node \"{}\"", own.node);
                let advice = "leave --node out; or stop the daemon, and start it with `node.name` in its configuration";
                return Err(Failure::new(Exit::Usage, cause).advise(advice));
            }
        }
        Ok(Where::Running(remote))
    }
}

/// Where the daemon lives that serves the API at this address.
enum LivesIn {
    Directory(PathBuf),
    /// It keeps nothing.
    Memory,
    /// It does not tell us.
    Elsewhere,
}

/// Asks whoever serves the API at an address of this host; nothing when nobody does, or something that is no
/// Portolan.
async fn ask_where(at: SocketAddr) -> Option<(LivesIn, Client)> {
    if at.port() == 0 {
        return None;
    }
    let ip = match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let client = Client::new(Address::from(SocketAddr::new(ip, at.port()))).with_token_from_env();
    let asked = client.get::<ClusterStatus>("/v1/portolan/status");
    let lives_in = match tokio::time::timeout(ASKED, asked).await.ok()? {
        Ok(status) if status.value.own.data_dir.is_empty() => LivesIn::Memory,
        Ok(status) => LivesIn::Directory(PathBuf::from(&*status.value.own.data_dir)),
        Err(client::Error::Refused { status: 403, .. }) => LivesIn::Elsewhere,
        Err(_) => return None,
    };
    Some((lives_in, client))
}

/// A daemon runs, and it is not what the files in `dir` would become: the user means one of the two.
fn beside(at: SocketAddr, lives_in: &LivesIn, dir: &Path) -> Failure {
    let (which, instead) = match lives_in {
        LivesIn::Directory(other) => {
            (format!("lives in {}", other.display()), format!("--data-dir {}", other.display()))
        }
        LivesIn::Memory => ("keeps nothing on disk".into(), format!("--api {at}")),
        LivesIn::Elsewhere => ("does not live there".into(), format!("--api {at}")),
    };
    let cause = anyhow!("no daemon runs in {}, and the one that answers at {at} {which}", dir.display());
    Failure::new(Exit::Usage, cause).advise(format!(
        "{instead} for the daemon that runs; for another one in {}, --set api.listen=… and its other addresses, \
         as it will be started",
        dir.display()
    ))
}

/// Root would leave files that the daemon's own user cannot open: this process goes on as whoever owns the directory.
/// Returns when there is nothing to change.
pub(super) fn go_on_as_owner(dir: &Path) -> Result {
    let Ok(found) = fs::metadata(dir) else { return Ok(()) };
    let (user, group) = (found.uid(), found.gid());
    if user == 0 || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let dir = std::path::absolute(dir)?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut again = Command::new(std::env::current_exe()?);
    // The default directory is another one for another user.
    again.args(arguments).env("PORTOLAN_NODE__DATA_DIR", &dir).uid(user).gid(group);
    let cause = again.exec();
    let what = format!("go on as user {user}, who owns {}", dir.display());
    let advice =
        format!("run this as that user: setpriv --reuid={user} --regid={group} --clear-groups portolan …");
    Err(Failure::new(Exit::Failure, anyhow::Error::new(cause).context(what)).advise(advice))
}

/// Waits until the daemon has started again as a member, and finds itself in the cluster's own list.
pub(crate) async fn wait_for_member(remote: &Remote) -> Result {
    let member = async {
        while !lists_itself(remote).await.unwrap_or(false) {
            tokio::time::sleep(AGAIN).await;
        }
    };
    remote.until("the daemon to start again as a member", member).await
}

/// A server that is to vote is worth waiting for: until then the loss of another may be that of a majority. False when
/// it takes long; nothing is wrong then.
pub(crate) async fn wait_for_voters(remote: &Remote, most: usize) -> bool {
    let settled = async {
        while !have_voters(remote, most).await.unwrap_or(false) {
            tokio::time::sleep(AGAIN).await;
        }
    };
    tokio::time::timeout(VOTE, settled).await.is_ok()
}

async fn have_voters(remote: &Remote, most: usize) -> std::result::Result<bool, client::Error> {
    let own = remote.client.get::<ClusterStatus>("/v1/portolan/status").await?.value.own;
    let members = remote.client.get::<Vec<Member>>("/v1/portolan/members").await?.value;
    let servers = members.iter().filter(|member| &*member.role == "server").count();
    Ok(&*own.engine == "etcd" || own.voters.len() >= servers.min(most))
}

/// It answers nothing for the moment in which it starts again, and what it finds on disk or at a server comes a
/// moment later.
async fn lists_itself(remote: &Remote) -> std::result::Result<bool, client::Error> {
    let own = remote.client.get::<ClusterStatus>("/v1/portolan/status").await?.value.own;
    let members = remote.client.get::<Vec<Member>>("/v1/portolan/members").await?.value;
    Ok(!own.cluster.is_empty() && members.iter().any(|member| member.name == own.node))
}
