//! Streams and datagrams through a relay, beside the proxies that people would take instead.

pub(super) mod tcp;
pub(super) mod udp;
