//! `portolan expose` and `unexpose`: wishes to be reachable from outside.

use consul::exposure::{Exposures, Wish};

use crate::cli::Global;
use crate::exit::Result;
use crate::remote::{Remote, encoded};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Service by its name; it may be registered later
    service: String,
    /// Port outside, and inside where that is another: 443:8443/tcp, 53/udp, 80. Give it again for more
    #[arg(long = "port", short, value_name = "PORT", required_unless_present = "https")]
    ports: Vec<String>,
    /// By HTTPS under its names, with a certificate that the node gets by itself ([acme], [proxy.public])
    #[arg(long, requires = "names")]
    https: bool,
    /// Public name that shall lead to it, in a zone of [[public_dns]]. Give it again for more
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Node that shall expose it; else each node that has an instance
    #[arg(long, value_name = "NODE", default_value = "")]
    via: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Unexpose {
    /// Service by its name
    service: String,
}

pub(crate) fn expose(args: Args, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let texts = |all: &[String]| all.iter().map(|text| text.as_str().into()).collect();
        let wish = Wish {
            ports: texts(&args.ports),
            names: texts(&args.names),
            via: args.via.as_str().into(),
            https: args.https,
        };
        let path = format!("/v1/portolan/exposure/{}", encoded(&args.service));
        let _: bool = remote.put(&path, &wish).await?;
        let https = args.https.then(|| args.names.iter().map(|name| format!("https://{name}/")));
        let places: Vec<String> = https.into_iter().flatten().chain(args.ports).collect();
        global.out().say(&format!("{} shall be reachable at {}", args.service, places.join(", ")))?;
        let shown = remote.get::<Exposures>("/v1/portolan/exposures").await?.value;
        if !shown.enabled {
            let node = &shown.node;
            eprintln!("node {node} carries nothing out: set [exposure] enabled = true in its configuration");
        } else {
            global.out().say("`portolan exposures` shows how it stands")?;
        }
        Ok(())
    })
}

pub(crate) fn unexpose(args: Unexpose, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let path = format!("/v1/portolan/exposure/{}", encoded(&args.service));
        remote.bounded(remote.client.delete(&path)).await?;
        Ok(global.out().say(&format!("{} shall not be reachable from outside any more", args.service))?)
    })
}
