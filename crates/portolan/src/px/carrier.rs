//! A channel of the mesh as what the order's engine sends through.

use std::collections::BTreeMap;

use bytes::Bytes;
use log::transport::{Closed, Lane, LinkEvent, LinkReceiver, LinkSender, ServerId, Transport, links};
use mesh::{Channel, ChannelEvent, Kind, Mesh};
use tokio::sync::mpsc;

/// Bytes that may wait for the engine, and for a peer.
const INBOX: usize = 16 << 20;
const OUTBOX: usize = 64 << 20;

/// The engine's lanes, in the order of the channel's.
const LANES: [(Lane, mesh::Lane); 2] = [(Lane::Order, mesh::Lane::Control), (Lane::Bulk, mesh::Lane::Data)];

pub(super) struct Carrier {
    channel: Channel,
    names: BTreeMap<ServerId, String>,
}

impl Carrier {
    pub(super) fn start(
        mesh: &Mesh,
        kind: Kind,
        names: &BTreeMap<ServerId, String>,
    ) -> (Carrier, LinkReceiver) {
        let (channel, events) = mesh.channel(kind, &LANES.map(|(_, lane)| lane), OUTBOX);
        let (sender, receiver) = links(INBOX);
        let servers = names.iter().map(|(server, name)| (name.clone(), *server)).collect();
        tokio::spawn(hand_over(events, sender, servers));
        (Carrier { channel, names: names.clone() }, receiver)
    }
}

/// Tells the engine what the channel tells, of servers that it knows.
async fn hand_over(
    mut events: mpsc::Receiver<ChannelEvent>,
    to: LinkSender,
    servers: BTreeMap<String, ServerId>,
) {
    while let Some(event) = events.recv().await {
        let (ChannelEvent::Up { peer, .. }
        | ChannelEvent::Frame { peer, .. }
        | ChannelEvent::Down { peer, .. }) = &event;
        let Some(peer) = servers.get(peer).copied() else { continue };
        let told = match event {
            ChannelEvent::Up { session, .. } => to.push(LinkEvent::Up { peer, session }),
            ChannelEvent::Down { session, .. } => to.push(LinkEvent::Down { peer, session }),
            ChannelEvent::Frame { session, lane, frame, .. } => {
                let Some((lane, _)) = LANES.get(lane) else { continue };
                to.send(LinkEvent::Frame { peer, session, lane: *lane, frame }).await
            }
        };
        if told.is_err() {
            return;
        }
    }
}

impl Transport for Carrier {
    fn send(&self, peer: ServerId, session: u64, lane: Lane, frame: Bytes) -> Result<(), Closed> {
        let name = self.names.get(&peer).ok_or(Closed)?;
        let lane = LANES.iter().position(|(known, _)| *known == lane).ok_or(Closed)?;
        self.channel.send(name, session, lane, frame).map_err(|_| Closed)
    }

    fn reset(&self, peer: ServerId, session: u64) {
        if let Some(name) = self.names.get(&peer) {
            self.channel.reset(name, session);
        }
    }
}
