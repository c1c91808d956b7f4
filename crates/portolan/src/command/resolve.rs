//! `portolan resolve NAME`: where a name leads, as programs on this host would be sent.

use anyhow::anyhow;
use consul::own::{Endpoint, Resolution};

use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};
use crate::remote::{Remote, encoded};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Service name
    name: String,
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let resolution = resolve(&remote, &args.name).await?;
        Ok(global.out().one(&resolution, || human(&resolution))?)
    })
}

/// Asks the daemon; a name that nobody registered is "not found".
pub(crate) async fn resolve(remote: &Remote, name: &str) -> Result<Resolution> {
    let answer = remote.get::<Resolution>(&format!("/v1/portolan/resolve/{}", encoded(name))).await;
    let answer = answer.map_err(|failure| match failure.exit {
        Exit::NotFound => Failure::new(Exit::NotFound, anyhow!("no service named \"{name}\" is registered"))
            .advise("`portolan services` lists the names"),
        _ => failure,
    })?;
    Ok(answer.value)
}

/// `address:port`, with brackets where IPv6 needs them.
pub(crate) fn authority(endpoint: &Endpoint) -> String {
    match endpoint.address.contains(':') {
        true => format!("[{}]:{}", endpoint.address, endpoint.port),
        false => format!("{}:{}", endpoint.address, endpoint.port),
    }
}

fn human(resolution: &Resolution) -> String {
    let mut lines = vec![resolution.name.to_string()];
    if let Some(address) = &resolution.r#virtual {
        let moved = match (address.open, address.moved.is_empty()) {
            (false, _) => "  (not open on this host)".to_owned(),
            (true, true) => String::new(),
            (true, false) => format!("  ({})", address.moved),
        };
        lines.push(format!("  virtual   {}:{}{moved}", address.address, address.port));
        if !address.address_v6.is_empty() {
            lines.push(format!("  virtual   [{}]:{}", address.address_v6, address.port));
        }
    }
    for endpoint in &resolution.endpoints {
        lines.push(format!(
            "  endpoint  {}  {}  {} on {}",
            authority(endpoint),
            endpoint.status,
            endpoint.id,
            endpoint.node
        ));
    }
    if resolution.endpoints.is_empty() {
        lines.push(format!("  no healthy endpoint ({} registered)", resolution.registered));
    }
    lines.join("\n")
}
