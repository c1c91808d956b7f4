//! Finding routers: every language side by side, from every address of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::{BoxFuture, Gateway, igd, natpmp, pcp};

/// Most of our addresses that are searched from: hosts with containers have many that lead nowhere.
const MOST_ADDRESSES: usize = 8;
/// Any address of the public Internet: asks the kernel which of ours it would send from.
const SOMEWHERE: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1);

/// Finds routers.
pub trait Search: Send + Sync {
    /// Those that answer, the preferred first.
    fn search(&self) -> BoxFuture<'_, Vec<Arc<dyn Gateway>>>;

    /// Default gateways by which the world is reached, the preferred first; none where that does not matter.
    fn ways(&self) -> Vec<Ipv4Addr> {
        Vec::new()
    }

    /// The same for one of those alone.
    fn toward(&self, _gateway: Ipv4Addr) -> Option<Arc<dyn Search>> {
        None
    }
}

/// Searches this host's networks.
#[derive(Debug, Clone, Copy)]
pub enum Everywhere {
    /// For mappings; only from this address, where it is given.
    V4(Option<Ipv4Addr>),
    /// For mappings at this gateway.
    Toward(Ipv4Addr),
    /// For pinholes.
    V6,
}

impl Search for Everywhere {
    fn search(&self) -> BoxFuture<'_, Vec<Arc<dyn Gateway>>> {
        match *self {
            Everywhere::V4(only) => Box::pin(async move {
                let gateways = gateways(false);
                let own = only.map_or_else(|| own_v4(&gateways), |only| vec![only]);
                search_v4(gateways, own).await
            }),
            Everywhere::Toward(gateway) => Box::pin(async move {
                let gateway = IpAddr::V4(gateway);
                let own = source((gateway, 0).into()).and_then(v4);
                let mut found = search_v4(vec![(gateway, 0).into()], own.into_iter().collect()).await;
                found.retain(|router| router.router() == gateway);
                found
            }),
            Everywhere::V6 => Box::pin(search_v6()),
        }
    }

    fn ways(&self) -> Vec<Ipv4Addr> {
        let Everywhere::V4(only) = *self else { return Vec::new() };
        let mut ways = Vec::new();
        for gateway in gateways(false) {
            let is_meant = only.is_none_or(|only| source(gateway) == Some(only.into()));
            ways.extend(v4(gateway.ip()).filter(|way| is_meant && !ways.contains(way)));
        }
        ways
    }

    fn toward(&self, gateway: Ipv4Addr) -> Option<Arc<dyn Search>> {
        Some(Arc::new(Everywhere::Toward(gateway)))
    }
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

/// UPnP first, since it alone tells who holds a port; then PCP and NAT-PMP.
async fn search_v4(gateways: Vec<SocketAddr>, own: Vec<Ipv4Addr>) -> Vec<Arc<dyn Gateway>> {
    let mut tasks = tokio::task::JoinSet::<(u8, usize, Vec<Arc<dyn Gateway>>)>::new();
    for (rank, client) in own.into_iter().enumerate() {
        let direct = gateways.iter().copied().find(|gateway| source(*gateway) == Some(client.into()));
        let direct = direct.and_then(|gateway| v4(gateway.ip()));
        tasks.spawn(async move { (0, rank, igd::find(client, direct).await) });
        let Some(direct) = direct else { continue };
        tasks.spawn(async move {
            let found = pcp::find(client.into(), (direct, 0).into()).await;
            (1, rank, found.into_iter().collect())
        });
        tasks.spawn(async move { (2, rank, natpmp::find(client, direct).await.into_iter().collect()) });
    }
    let mut found = tasks.join_all().await;
    found.sort_by_key(|(language, rank, _)| (*rank, *language));
    found.into_iter().flat_map(|(_, _, found)| found).collect()
}

/// PCP first: its answers tell when a router has lost its table.
async fn search_v6() -> Vec<Arc<dyn Gateway>> {
    let Ok(IpAddr::V6(client)) = sys::host::local_address(SOMEWHERE.into()) else { return Vec::new() };
    let gateways = gateways(true);
    let by_pcp = async {
        let mut found = Vec::new();
        for gateway in &gateways {
            found.extend(pcp::find(client.into(), *gateway).await);
        }
        found
    };
    let (mut found, by_igd) = tokio::join!(by_pcp, igd::pinhole::find(client, gateways.first().copied()));
    found.extend(by_igd);
    found
}

fn gateways(v6: bool) -> Vec<SocketAddr> {
    match sys::host::gateways() {
        Ok(gateways) => {
            let wanted = gateways.into_iter().filter(|gateway| gateway.address.is_ipv6() == v6);
            wanted.map(|gateway| gateway.socket_address()).collect()
        }
        Err(cause) => {
            tracing::warn!(%cause, "cannot read this host's routes");
            Vec::new()
        }
    }
}

fn source(gateway: SocketAddr) -> Option<IpAddr> {
    sys::host::local_address(gateway.ip()).ok()
}

/// Our addresses: those that face a gateway first, then other private ones.
fn own_v4(gateways: &[SocketAddr]) -> Vec<Ipv4Addr> {
    let facing = gateways.iter().filter_map(|gateway| source(*gateway));
    let all = sys::host::addresses().unwrap_or_default();
    let mut own = Vec::new();
    for address in facing.chain(all) {
        if let IpAddr::V4(v4) = address
            && !v4.is_loopback()
            && !v4.is_link_local()
            && !own.contains(&v4)
        {
            own.push(v4);
        }
    }
    own.truncate(MOST_ADDRESSES);
    own
}
