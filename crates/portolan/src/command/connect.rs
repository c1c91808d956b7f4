//! `portolan connect NAME`: standard input and output, joined to a service.

use anyhow::{Context as _, anyhow};
use consul::own::Endpoint;
use tokio::io::{AsyncWriteExt as _, copy, stdin, stdout};
use tokio::net::TcpStream;

use super::resolve::{authority, resolve};
use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};
use crate::remote::Remote;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Service name
    name: String,
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let resolution = resolve(&remote, &args.name).await?;
        let stream = dial(&args.name, resolution.endpoints, global).await?;
        relay(stream).await.with_context(|| format!("relay bytes with \"{}\"", args.name))?;
        Ok(())
    })
}

/// The first endpoint that answers, beginning at a random one.
async fn dial(name: &str, mut endpoints: Vec<Endpoint>, global: &Global) -> Result<TcpStream> {
    let mut last = anyhow!("it has no healthy endpoint");
    fastrand::shuffle(&mut endpoints);
    for endpoint in &endpoints {
        let address = authority(endpoint);
        match tokio::time::timeout(global.timeout, TcpStream::connect(&address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(cause)) => last = anyhow!(cause).context(format!("connect to {address}")),
            Err(_) => last = anyhow!("{address} did not answer within {:?}", global.timeout),
        }
    }
    Err(Failure::new(Exit::Unreachable, last.context(format!("reach the service \"{name}\"")))
        .advise(format!("`portolan instances {name}` shows its health")))
}

/// The end of standard input is passed on; the end of what the service says is the end.
async fn relay(stream: TcpStream) -> std::io::Result<()> {
    let (mut from, mut to) = stream.into_split();
    let upward = tokio::spawn(async move {
        copy(&mut stdin(), &mut to).await?;
        to.shutdown().await
    });
    let mut out = stdout();
    copy(&mut from, &mut out).await?;
    out.flush().await?;
    upward.abort();
    Ok(())
}
