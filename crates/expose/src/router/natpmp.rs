//! NAT Port Mapping Protocol: RFC 6886.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::epoch::Epoch;
use super::{BoxFuture, Gateway, MapError, Mapping, udp};
use crate::wish::Protocol;

/// Where routers listen.
const PORT: u16 = 5351;

/// What a router answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Section 3.2.
    Address(Ipv4Addr),
    /// Section 3.3.
    Mapped {
        /// Of ours.
        internal: u16,
        /// Of the router's.
        external: u16,
        /// Seconds; 0 after a removal.
        lifetime: u32,
    },
    /// Section 3.5: a result code other than 0.
    Failed(u16),
}

/// The question for the public address.
pub fn address_request() -> [u8; 2] {
    [0, 0]
}

/// A mapping, or with a lifetime of 0 its removal.
pub fn map_request(protocol: Protocol, internal: u16, external: u16, lifetime: u32) -> [u8; 12] {
    let ([a, b], [c, d], [e, f, g, h]) =
        (internal.to_be_bytes(), external.to_be_bytes(), lifetime.to_be_bytes());
    [0, opcode(protocol), 0, 0, a, b, c, d, e, f, g, h]
}

/// Reads the answer to a request with this operation code; `None` for anything else.
pub fn parse(bytes: &[u8], opcode: u8) -> Option<Answer> {
    let &[0, op, a, b, ..] = bytes else { return None };
    if op != opcode | 0x80 {
        return None;
    }
    let result = u16::from_be_bytes([a, b]);
    match (result, opcode, bytes.get(8..)?) {
        (0, 0, &[a, b, c, d]) => Some(Answer::Address(Ipv4Addr::new(a, b, c, d))),
        (0, 1 | 2, &[a, b, c, d, e, f, g, h]) => Some(Answer::Mapped {
            internal: u16::from_be_bytes([a, b]),
            external: u16::from_be_bytes([c, d]),
            lifetime: u32::from_be_bytes([e, f, g, h]),
        }),
        (1.., ..) => Some(Answer::Failed(result)),
        _ => None,
    }
}

fn opcode(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Udp => 1,
        Protocol::Tcp => 2,
    }
}

/// A router that answered.
pub struct NatPmp {
    name: String,
    router: SocketAddr,
    client: Ipv4Addr,
    epoch: Epoch,
    /// The outside port of each inside port that it maps for us. It has one of them, and removes by the inside port.
    given: Mutex<BTreeMap<(Protocol, u16), u16>>,
}

/// Asks the gateway whether it speaks this.
pub async fn find(client: Ipv4Addr, gateway: Ipv4Addr) -> Option<Arc<dyn Gateway>> {
    let (name, router) = (format!("NAT-PMP at {gateway}"), (gateway, PORT).into());
    let found = NatPmp { name, router, client, epoch: Epoch::default(), given: Mutex::default() };
    found.ask(&address_request(), 0).await.ok()?;
    Some(Arc::new(found))
}

impl NatPmp {
    async fn ask(&self, packet: &[u8], opcode: u8) -> Result<Answer, MapError> {
        match udp::ask(self.client.into(), self.router, packet, |bytes| parse(bytes, opcode)).await? {
            Answer::Failed(2) => Err(MapError::Forbidden("result 2, not authorised".into())),
            Answer::Failed(code @ (3 | 4)) => Err(MapError::Unable(format!("result {code}"))),
            Answer::Failed(code) => Err(MapError::Refused(format!("result {code}"))),
            answer => Ok(answer),
        }
    }

    async fn change(&self, mapping: &Mapping, external: u16, lifetime: u32) -> Result<(u16, u32), MapError> {
        let protocol = mapping.external.protocol;
        let packet = map_request(protocol, mapping.internal, external, lifetime);
        match self.ask(&packet, opcode(protocol)).await? {
            Answer::Mapped { external, lifetime, .. } => Ok((external, lifetime)),
            _ => Err(MapError::Silent("another answer than the one that was asked for".into())),
        }
    }
}

impl NatPmp {
    fn given(&self) -> MutexGuard<'_, BTreeMap<(Protocol, u16), u16>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another outside port that the inside port of `mapping` has.
    fn other(&self, mapping: &Mapping) -> Option<u16> {
        let given = self.given().get(&inside(mapping)).copied();
        given.filter(|given| *given != mapping.external.number)
    }
}

fn inside(mapping: &Mapping) -> (Protocol, u16) {
    (mapping.external.protocol, mapping.internal)
}

impl Gateway for NatPmp {
    fn name(&self) -> &str {
        &self.name
    }

    fn router(&self) -> IpAddr {
        self.router.ip()
    }

    fn client(&self) -> IpAddr {
        self.client.into()
    }

    fn map<'a>(&'a self, mapping: &'a Mapping, lease: Duration) -> BoxFuture<'a, Result<Duration, MapError>> {
        Box::pin(async move {
            if let Some(other) = self.other(mapping) {
                let internal = mapping.internal;
                return Err(MapError::Unable(format!(
                    "NAT-PMP leads to an inside port by one outside port, and {internal} has {other}"
                )));
            }
            let seconds = u32::try_from(lease.as_secs()).unwrap_or(u32::MAX).max(1);
            let (external, granted) = self.change(mapping, mapping.external.number, seconds).await?;
            if external != mapping.external.number {
                // It keeps what it gave until told otherwise.
                drop(self.change(mapping, 0, 0).await);
                return Err(MapError::OtherPort(external));
            }
            self.given().insert(inside(mapping), external);
            Ok(Duration::from_secs(granted.into()))
        })
    }

    fn holds<'a>(&'a self, _: &'a Mapping) -> BoxFuture<'a, Result<bool, MapError>> {
        Box::pin(async {
            let accept = |bytes: &[u8]| parse(bytes, 0).and(bytes.get(4..8)?.try_into().ok());
            let told = udp::ask(self.client.into(), self.router, &address_request(), accept).await?;
            Ok(self.epoch.continues(u32::from_be_bytes(told), Instant::now()))
        })
    }

    fn unmap<'a>(&'a self, mapping: &'a Mapping) -> BoxFuture<'a, Result<(), MapError>> {
        Box::pin(async move {
            if self.other(mapping).is_some() {
                // It was never granted, and this would take back the one that was.
                return Ok(());
            }
            self.change(mapping, 0, 0).await?;
            self.given().remove(&inside(mapping));
            Ok(())
        })
    }

    fn public_address(&self) -> BoxFuture<'_, Result<IpAddr, MapError>> {
        Box::pin(async {
            match self.ask(&address_request(), 0).await? {
                Answer::Address(address) => Ok(address.into()),
                _ => Err(MapError::Silent("another answer than the one that was asked for".into())),
            }
        })
    }

    fn ours<'a>(&'a self, _description: &'a str) -> BoxFuture<'a, Result<Vec<Mapping>, MapError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wish::Port;

    #[test]
    fn requests_are_as_the_standard_draws_them() {
        assert_eq!(
            map_request(Protocol::Tcp, 8080, 18081, 30),
            [0, 2, 0, 0, 0x1f, 0x90, 0x46, 0xa1, 0, 0, 0, 30]
        );
        assert_eq!(map_request(Protocol::Udp, 1, 2, 0)[1], 1);
    }

    /// A router that grants everything, and what it is asked.
    async fn router() -> (NatPmp, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
        let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let router = socket.local_addr().unwrap();
        let (tell, asked) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut packet = [0; 12];
            while let Ok((12, from)) = socket.recv_from(&mut packet).await {
                let answer = [&[0, packet[1] + 128, 0, 0, 0, 0, 0, 9], &packet[4..]].concat();
                drop(socket.send_to(&answer, from).await);
                drop(tell.send(packet.to_vec()));
            }
        });
        let (name, given) = ("a router".into(), Mutex::default());
        (NatPmp { name, router, client: Ipv4Addr::LOCALHOST, epoch: Epoch::default(), given }, asked)
    }

    #[tokio::test]
    async fn an_inside_port_has_one_outside_port() {
        let (gateway, mut asked) = router().await;
        let mapping = |external| Mapping {
            external: Port { protocol: Protocol::Tcp, number: external },
            internal: 8080,
            description: "".into(),
        };
        let lease = Duration::from_secs(60);
        gateway.map(&mapping(80), lease).await.unwrap();
        let second = gateway.map(&mapping(8080), lease).await.unwrap_err();
        assert!(second.to_string().contains("8080 has 80"), "{second}");
        gateway.unmap(&mapping(8080)).await.unwrap();
        gateway.unmap(&mapping(80)).await.unwrap();
        gateway.map(&mapping(8080), lease).await.unwrap();
        let lifetimes = std::iter::from_fn(|| asked.try_recv().ok()).map(|packet| packet[11]);
        assert_eq!(
            lifetimes.collect::<Vec<_>>(),
            [60, 0, 60],
            "the first is taken back once, and by its own removal"
        );
    }

    #[test]
    fn answers_are_read_and_cut_ones_are_not() {
        let mapped = [0, 130, 0, 0, 0, 0, 0, 9, 0x1f, 0x90, 0x46, 0xa1, 0, 0, 0, 30];
        assert_eq!(parse(&mapped, 2), Some(Answer::Mapped { internal: 8080, external: 18081, lifetime: 30 }));
        assert_eq!(parse(&mapped, 1), None);
        let address = [0, 128, 0, 0, 0, 0, 0, 9, 45, 83, 0, 1];
        assert_eq!(parse(&address, 0), Some(Answer::Address([45, 83, 0, 1].into())));
        assert_eq!(parse(&[0, 128, 0, 3, 0, 0, 0, 9], 0), Some(Answer::Failed(3)));
        for cut in 0..mapped.len() {
            assert_eq!(parse(&mapped[..cut], 2), None);
        }
        // A router that speaks PCP alone answers with version 2.
        assert_eq!(parse(&[2, 128, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 0), None);
    }
}
