//! Port Control Protocol: RFC 6887. Over IPv4 it makes mappings, over IPv6 pinholes.

mod packet;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use packet::{Answer, Map, Nonce, parse};

use super::epoch::Epoch;
use super::{BoxFuture, Gateway, MapError, Mapping, udp};

/// Where routers listen.
const PORT: u16 = 5351;
/// Result codes of section 7.4 that mean something else than "no".
const UNSUPPORTED_OPTION: u8 = 5;
const CANNOT_PROVIDE: u8 = 11;

/// A router that answered.
pub struct Pcp {
    name: String,
    router: SocketAddr,
    client: IpAddr,
    secret: u64,
    epoch: Epoch,
    /// Told with every mapping, and by nothing else.
    public: Mutex<Option<IpAddr>>,
}

/// Asks the gateway whether it speaks this, from the address that mappings shall lead to.
pub async fn find(client: IpAddr, gateway: SocketAddr) -> Option<Arc<dyn Gateway>> {
    let mut router = gateway;
    router.set_port(PORT);
    let name = format!("PCP at {}", router.ip());
    let (secret, epoch, public) = (secret(), Epoch::default(), Mutex::new(None));
    let found = Pcp { name, router, client, secret, epoch, public };
    let announce = packet::announce(client);
    udp::ask(client, router, &announce, |bytes| packet::is_announce(bytes).then_some(())).await.ok()?;
    Some(Arc::new(found))
}

/// The same after a restart, so that what an earlier life mapped can be removed: section 11.2 asks for the
/// same nonce. From the machine's id where there is one, which nobody outside knows.
fn secret() -> u64 {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    if id.trim().len() < 16 { fastrand::u64(..) } else { packet::mix(0, id.trim().as_bytes()) }
}

impl Pcp {
    async fn change(&self, mapping: &Mapping, lifetime: u32, strict: bool) -> Result<Map, MapError> {
        let port = mapping.external;
        let wanted = Map {
            nonce: packet::nonce(self.secret, port, mapping.internal),
            protocol: port.protocol,
            internal: mapping.internal,
            external: port.number,
            address: if self.client.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { self.client },
            lifetime,
        };
        let request = packet::map(self.client, &wanted, strict);
        let accept = |bytes: &[u8]| parse(bytes).filter(|answer| answer.is_to(&wanted));
        match udp::ask(self.client, self.router, &request, accept).await? {
            Answer::Mapped(map) => Ok(map),
            Answer::Failed { code: UNSUPPORTED_OPTION, .. } if strict => {
                Box::pin(self.change(mapping, lifetime, false)).await
            }
            Answer::Failed { code: CANNOT_PROVIDE, .. } => {
                Err(MapError::Held("another host, or the router itself (PCP result 11)".into()))
            }
            Answer::Failed { code, .. } => Err(meaning(code)),
        }
    }

    async fn take(&self, mapping: &Mapping, lease: Duration) -> Result<Duration, MapError> {
        let seconds = u32::try_from(lease.as_secs()).unwrap_or(u32::MAX).max(1);
        let map = self.change(mapping, seconds, true).await?;
        if map.external != mapping.external.number {
            drop(self.change(mapping, 0, false).await);
            return Err(MapError::OtherPort(map.external));
        }
        *self.public.lock().unwrap_or_else(PoisonError::into_inner) = Some(map.address);
        Ok(Duration::from_secs(map.lifetime.into()))
    }
}

fn meaning(code: u8) -> MapError {
    match code {
        2 | 12 => MapError::Forbidden(format!("PCP result {code}")),
        7 | 8 | 10 => MapError::Unable(format!("PCP result {code}")),
        _ => MapError::Refused(format!("PCP result {code}")),
    }
}

impl Gateway for Pcp {
    fn name(&self) -> &str {
        &self.name
    }

    fn router(&self) -> IpAddr {
        self.router.ip()
    }

    fn client(&self) -> IpAddr {
        self.client
    }

    fn map<'a>(&'a self, mapping: &'a Mapping, lease: Duration) -> BoxFuture<'a, Result<Duration, MapError>> {
        Box::pin(self.take(mapping, lease))
    }

    fn unmap<'a>(&'a self, mapping: &'a Mapping) -> BoxFuture<'a, Result<(), MapError>> {
        Box::pin(async move { self.change(mapping, 0, false).await.map(drop) })
    }

    fn holds<'a>(&'a self, _: &'a Mapping) -> BoxFuture<'a, Result<bool, MapError>> {
        Box::pin(async {
            // Section 7.2: the clock stands behind the lifetime.
            let accept =
                |bytes: &[u8]| packet::is_announce(bytes).then(|| bytes.get(8..12)?.try_into().ok())?;
            let request = packet::announce(self.client);
            let told = udp::ask(self.client, self.router, &request, accept).await?;
            Ok(self.epoch.continues(u32::from_be_bytes(told), Instant::now()))
        })
    }

    fn public_address(&self) -> BoxFuture<'_, Result<IpAddr, MapError>> {
        let known = *self.public.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown = || MapError::Unable("PCP tells the public address with the first mapping".into());
        Box::pin(async move { known.ok_or_else(unknown) })
    }

    fn ours<'a>(&'a self, _description: &'a str) -> BoxFuture<'a, Result<Vec<Mapping>, MapError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
