//! Servers for the tests.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A server that is gone, with all its connections, when this is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

/// Serves every connection with `serve`.
pub(crate) async fn serve<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut serving = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counter.fetch_add(1, Relaxed);
            serving.spawn(serve(stream));
        }
    });
    Server { address, connections, _task: task }
}

/// Says `greeting`, then repeats what it hears, and ends when it hears the end.
pub(crate) async fn echo(greeting: &'static str) -> Server {
    serve(move |mut stream| async move {
        let _ = stream.write_all(greeting.as_bytes()).await;
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
        let _ = stream.shutdown().await;
    })
    .await
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap()
}

/// Reads until the end.
pub(crate) async fn read_all(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await?;
    Ok(all)
}
