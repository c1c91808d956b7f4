//! `portolan ca issue|show|rotate|deny|allow`: the cluster's own authority.

use std::path::PathBuf;

use anyhow::Context as _;
use cluster::{Identity, ca, identity};
use serde::Serialize;
use serde_json::Value;

use super::sources::SourceArgs;
use crate::cli::Global;
use crate::config::load;
use crate::exit::Result;
use crate::remote::{Remote, encoded};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Ca {
    /// Write a key and a certificate for a program, good for TLS on both sides
    ///
    /// On a server of a cluster its authority signs. Elsewhere a private root signs, which the first call makes in
    /// the same directory.
    Issue(Issue),
    /// Show this node's certificate and the roots that it believes
    Show {
        #[command(flatten)]
        sources: SourceArgs,
    },
    /// Let another root sign from now on; the old one is believed for 30 days more
    Rotate,
    /// Believe nobody any more who shows this key
    Deny {
        /// Hash of the key, or name of a member
        key: String,
    },
    /// Take that back
    Allow {
        /// Hash of the key
        key: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Issue {
    /// Host name or IP address that the certificate is for
    name: String,
    /// Directory to write NAME.key, NAME.pem and ca.pem into
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How long it counts
    #[arg(long, default_value_t = 30)]
    days: u32,
    #[command(flatten)]
    sources: SourceArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Issued {
    key: PathBuf,
    certificate: PathBuf,
    roots: PathBuf,
    ends_ms: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    cluster: String,
    node: String,
    key: String,
    began_ms: u64,
    ends_ms: u64,
    /// The one that signs first.
    roots: Vec<String>,
    has_root_key: bool,
}

pub(crate) fn run(ca: Ca, global: &Global) -> Result {
    match ca {
        Ca::Issue(args) => issue(&args, global),
        Ca::Show { sources } => show(&sources, global),
        Ca::Rotate => rotate(global),
        Ca::Deny { key } => deny(&key, global),
        Ca::Allow { key } => allow(&key, global),
    }
}

fn issue(args: &Issue, global: &Global) -> Result {
    let data = load(&args.sources.sources()?)?.config.node.data_dir;
    let now_ms = (cluster::time::system())();
    let issued = match identity::exists(&data) {
        true => {
            let identity = Identity::load(&data).context("read this node's identity")?;
            ca::issue_files(&identity, &args.name, args.days, &args.out, now_ms)
        }
        false => ca::issue_standalone(&args.name, args.days, &args.out, now_ms),
    };
    let issued = issued.with_context(|| format!("issue a certificate for {}", args.name))?;
    let shown = Issued {
        key: issued.key,
        certificate: issued.certificate,
        roots: issued.roots,
        ends_ms: issued.validity.until_ms,
    };
    let text = || {
        format!(
            "{}   the key, for its owner alone\n{}   its certificate, good for {} days\n{}   what others must believe",
            shown.key.display(),
            shown.certificate.display(),
            args.days,
            shown.roots.display()
        )
    };
    Ok(global.out().one(&shown, text)?)
}

fn show(sources: &SourceArgs, global: &Global) -> Result {
    let data = load(&sources.sources()?)?.config.node.data_dir;
    let identity = Identity::load(&data).context("read this node's identity")?;
    let roots: std::result::Result<Vec<_>, _> = identity.root_hashes().collect();
    let roots = roots.context("read the roots")?;
    let shown = Shown {
        cluster: identity.facts.cluster.clone(),
        node: identity.facts.node.clone(),
        key: identity.key.hash().to_string(),
        began_ms: identity.facts.validity.from_ms,
        ends_ms: identity.facts.validity.until_ms,
        roots: roots.iter().map(ToString::to_string).collect(),
        has_root_key: identity.root("show the authority").is_ok(),
    };
    let text = || {
        let now_ms = (cluster::time::system())();
        let hours = shown.ends_ms.saturating_sub(now_ms) / 3_600_000;
        let own = if shown.has_root_key { "is on this host" } else { "is not on this host" };
        format!(
            "node {} of cluster {}\nkey    {}\ncounts for {hours} hours more\nroots  {}\nthe key of the root that signs {own}",
            shown.node,
            shown.cluster,
            shown.key,
            shown.roots.join("\n       ")
        )
    };
    Ok(global.out().one(&shown, text)?)
}

fn rotate(global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let _: Value = remote.put("/v1/portolan/ca/rotate", &()).await?;
        Ok(global.out().say("another root was announced; it signs in a minute")?)
    })
}

fn deny(key: &str, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let _: Value = remote.put(&format!("/v1/portolan/ca/deny/{}", encoded(key)), &()).await?;
        Ok(global.out().say(&format!("denied {key}: it is believed no more"))?)
    })
}

fn allow(key: &str, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        remote.bounded(remote.client.delete(&format!("/v1/portolan/ca/deny/{}", encoded(key)))).await?;
        Ok(global.out().say(&format!("allowed {key} again"))?)
    })
}
