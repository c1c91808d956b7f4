//! Addresses of endpoints that are given by host name: the host's own resolver, asked once for each name at a time.
//!
//! `getaddrinfo` cannot be called off: a name whose server is silent occupies a thread for half a minute. Whoever asks for
//! it meanwhile waits for the same answer, so that such a name costs one thread and others find one free. Nothing is kept
//! once it is answered: how long an answer is good, `getaddrinfo` does not say.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tokio::sync::watch;

/// Most names that are looked up at a time.
const MOST: usize = 64;
/// Threads of each data thread for that.
pub(crate) const THREADS: usize = 16;

type Found = Result<Arc<[IpAddr]>, Arc<io::Error>>;
type UnderWay = watch::Receiver<Option<Found>>;

/// Of the whole process, as the resolver is.
static UNDER_WAY: LazyLock<Mutex<HashMap<Box<str>, UnderWay>>> = LazyLock::new(Mutex::default);

/// The addresses of `host`. The caller bounds the time.
///
/// # Errors
/// The resolver's; or as many names are being looked up as may be.
pub(crate) async fn addresses(host: &str) -> io::Result<Arc<[IpAddr]>> {
    let mut under_way = ask(host)?;
    let answered = under_way.wait_for(Option::is_some).await;
    match answered.ok().and_then(|found| found.clone()) {
        Some(Ok(found)) => Ok(found),
        Some(Err(cause)) => Err(io::Error::new(cause.kind(), cause)),
        None => Err(io::Error::other(format!("look up {host}: this thread is ending"))),
    }
}

/// The lookup that is under way, or a new one.
fn ask(host: &str) -> io::Result<UnderWay> {
    let mut all = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
    // One that will never be answered belonged to a thread that is gone.
    all.retain(|_, under_way| under_way.has_changed().is_ok());
    if let Some(under_way) = all.get(host) {
        return Ok(under_way.clone());
    }
    if all.len() >= MOST {
        return Err(io::Error::other(format!("look up {host}: {MOST} other names are waited for")));
    }
    let (tell, told) = watch::channel(None);
    let name: Box<str> = host.into();
    all.insert(name.clone(), told.clone());
    tokio::spawn(async move {
        let found = tokio::net::lookup_host((&*name, 0)).await;
        let found = found.map(|found| found.map(|address| address.ip()).collect()).map_err(Arc::new);
        UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        tell.send_replace(Some(found));
    });
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_looked_up_once_for_all_who_wait() {
        let (first, second) = (ask("localhost").unwrap(), ask("localhost").unwrap());
        assert!(first.same_channel(&second));
        assert!(addresses("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
        assert!(addresses("nobody.invalid").await.is_err());
        assert!(!UNDER_WAY.lock().unwrap().contains_key("nobody.invalid"));
    }
}
