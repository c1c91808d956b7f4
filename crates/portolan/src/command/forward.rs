//! `portolan forward LOCAL NAME`: a port or a socket here that leads to a service.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, UnixListener};

use super::connect::{Opened, Way};
use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen: a port of loopback, an address with a port, or the path of a Unix socket
    #[arg(value_parser = local)]
    local: Local,
    /// Service name, or a URI
    name: String,
    #[command(flatten)]
    way: Way,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Local {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

fn local(text: &str) -> std::result::Result<Local, String> {
    if text.contains('/') {
        return Ok(Local::Unix(text.into()));
    }
    if let Ok(port) = text.parse::<u16>() {
        return Ok(Local::Tcp((Ipv4Addr::LOCALHOST, port).into()));
    }
    text.parse()
        .map(Local::Tcp)
        .map_err(|_| "write a port, an address with a port, or a path with a slash".into())
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("start a runtime")?.block_on(async {
        let shared = Arc::new((args.way, args.name, global.clone()));
        match args.local {
            Local::Tcp(address) => {
                let failed = || format!("listen on {address}");
                let listener = TcpListener::bind(address).await.with_context(failed)?;
                say(global, &listener.local_addr().with_context(failed)?.to_string());
                loop {
                    serve(listener.accept().await.map(|(stream, _)| stream), &shared).await;
                }
            }
            Local::Unix(path) => {
                let listener = UnixListener::bind(&path).map_err(|cause| {
                    let cause = anyhow!(cause).context(format!("listen on {}", path.display()));
                    Failure::new(Exit::Failure, cause).advise("if nobody listens there any more, remove it")
                })?;
                say(global, &path.display().to_string());
                loop {
                    serve(listener.accept().await.map(|(stream, _)| stream), &shared).await;
                }
            }
        }
    })
}

fn say(global: &Global, place: &str) {
    if !global.quiet {
        println!("listening on {place}");
    }
}

/// Passes one connection on, beside the others.
async fn serve<S>(accepted: io::Result<S>, shared: &Arc<(Way, String, Global)>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = match accepted {
        Ok(stream) => stream,
        Err(error) => {
            eprintln!("portolan: accept a connection: {error}");
            return tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let shared = shared.clone();
    tokio::spawn(async move {
        if let Err(failure) = pass_on(stream, &shared).await {
            eprintln!("portolan: reach {}: {:#}", shared.1, failure.cause);
        }
    });
}

async fn pass_on<S>(mut stream: S, shared: &Arc<(Way, String, Global)>) -> Result
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let asked = shared.clone();
    // Asking waits for the daemon, which the other connections should not.
    let connected = tokio::task::spawn_blocking(move || asked.0.connect(&asked.1, &asked.2)).await;
    let connection = connected.context("ask for a connection")??;
    // How a connection ends is for its two sides.
    let _ = match connection.open().context("use the connection")? {
        Opened::Tcp(mut up) => copy_bidirectional(&mut stream, &mut up).await,
        Opened::Unix(mut up) => copy_bidirectional(&mut stream, &mut up).await,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_ports_addresses_and_paths() {
        assert_eq!(local("8080"), Ok(Local::Tcp("127.0.0.1:8080".parse().unwrap())));
        assert_eq!(local("[::1]:8080"), Ok(Local::Tcp("[::1]:8080".parse().unwrap())));
        assert_eq!(local("./here.sock"), Ok(Local::Unix("./here.sock".into())));
        assert!(local("example.com:80").is_err() && local("99999").is_err());
    }
}
