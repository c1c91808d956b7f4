//! The demo's services: child processes of this program, so that killing one is real.
//!
//! Each prints its port once it listens and lives until its standard input ends: whatever becomes of the
//! demo, nothing is left behind.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use client::{Client, Service};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::exit::Result;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum)]
    kind: Kind,
    /// Name that it answers with
    name: String,
    /// Register at this daemon, with a lease of two seconds
    #[arg(long)]
    lease_at: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Answers HTTP with its name.
    Web,
    /// Answers bytes with the same bytes and its name.
    Echo,
}

/// The term of the lease: short, for the purpose.
pub(super) const LEASE: Duration = Duration::from_secs(2);

pub(crate) fn run(args: Args) -> Result {
    crate::command::block_on(async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen")?;
        let port = listener.local_addr().context("ask for the port")?.port();
        let registration = match &args.lease_at {
            Some(api) => {
                let client = Client::new(api.parse()?);
                Some(Service::new(&args.name).port(port).lease(LEASE).register(&client).await?)
            }
            None => None,
        };
        println!("{port}");
        tokio::select! {
            () = serve(listener, args) => {}
            () = parent_is_gone() => {}
        }
        drop(registration);
        Ok(())
    })
}

async fn parent_is_gone() {
    let mut nothing = [0; 64];
    while let Ok(1..) = tokio::io::stdin().read(&mut nothing).await {}
}

async fn serve(listener: TcpListener, args: Args) {
    while let Ok((stream, _)) = listener.accept().await {
        let name = args.name.clone();
        match args.kind {
            Kind::Web => drop(tokio::spawn(web(stream, name))),
            Kind::Echo => drop(tokio::spawn(echo(stream, name))),
        }
    }
}

async fn web(stream: TcpStream, name: String) {
    let answer = |_: Request<Incoming>| {
        let body = Full::new(Bytes::from(format!("hello from {name}\n")));
        async { Ok::<_, Infallible>(Response::new(body)) }
    };
    // A client that breaks off is no news to a demo.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

async fn echo(mut stream: TcpStream, name: String) -> std::io::Result<()> {
    let mut heard = Vec::new();
    (&mut stream).take(4096).read_to_end(&mut heard).await?;
    stream.write_all(&heard).await?;
    stream.write_all(format!(", says {name}").as_bytes()).await?;
    stream.shutdown().await
}
