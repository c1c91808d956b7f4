//! A name server that takes updates.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::base::Ttl;
use domain::base::iana::Rcode;
use domain::tsig::Key as TsigKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::update::{Change, Owner, Rdata, Update, WireName, ZoneError, reply, wire};
use super::{BoxFuture, Key, NameError, Provider};

/// Longest that one update may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Which server, which zones, and as whom.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its address; updates go by TCP.
    pub server: SocketAddr,
    /// Zones that may be written, and no others.
    pub zones: Vec<String>,
    /// Who we are, for good.
    pub owner: Owner,
    /// How long others may remember what they asked.
    pub ttl: Duration,
}

/// A server of RFC 2136.
pub struct Rfc2136 {
    server: SocketAddr,
    zones: Vec<(String, WireName)>,
    mark: String,
    ttl: Ttl,
    key: Arc<TsigKey>,
}

impl Rfc2136 {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// Zones that are no names.
    pub fn new(config: &Config, key: Arc<TsigKey>) -> Result<Rfc2136, ZoneError> {
        let plain = |zone: &String| zone.trim_end_matches('.').to_ascii_lowercase();
        let zones = config.zones.iter().map(plain).map(|zone| Ok((zone.clone(), wire(&zone)?)));
        let zones = zones.collect::<Result<Vec<_>, _>>()?;
        let ttl = Ttl::from_secs(u32::try_from(config.ttl.as_secs()).unwrap_or(3600));
        Ok(Rfc2136 { server: config.server, zones, mark: config.owner.mark(), ttl, key })
    }

    /// The zone that a name is in: of several, the longest.
    fn zone(&self, name: &str) -> Result<&WireName, NameError> {
        let zones = self.zones.iter().filter(|(zone, _)| super::several::is_in(name, zone));
        zones.max_by_key(|(zone, _)| zone.len()).map(|(_, wire)| wire).ok_or(NameError::Outside)
    }

    async fn change(&self, key: &Key, change: Change<'_>) -> Result<Rcode, NameError> {
        let update = Update { zone: self.zone(&key.0)?, key, mark: &self.mark, ttl: self.ttl, change };
        let (message, transaction) = update.compose(self.key.clone())?;
        let exchange = tokio::time::timeout(LIMIT, exchange(self.server, &message));
        let answer = match exchange.await {
            Ok(answer) => answer.map_err(|cause| NameError::Silent(format!("{}: {cause}", self.server)))?,
            Err(_) => {
                return Err(NameError::Silent(format!("{} did not answer within {LIMIT:?}", self.server)));
            }
        };
        reply(&answer, &transaction)
    }

    async fn make(&self, key: &Key, values: &[Rdata]) -> Result<(), NameError> {
        match self.change(key, Change::Replace(values)).await? {
            Rcode::NOERROR => return Ok(()),
            // Not ours, or not there.
            Rcode::NXRRSET => {}
            other => return Err(NameError::Refused(other.to_string())),
        }
        match self.change(key, Change::Create(values)).await? {
            Rcode::NOERROR => Ok(()),
            Rcode::YXDOMAIN | Rcode::YXRRSET => Err(NameError::Foreign(self.mark.clone())),
            other => Err(NameError::Refused(other.to_string())),
        }
    }
}

/// A message each way, each with its length before it: RFC 1035 section 4.2.2.
async fn exchange(server: SocketAddr, message: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(message.len()).map_err(std::io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(message);
    stream.write_all(&framed).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

impl Provider for Rfc2136 {
    fn set<'a>(&'a self, key: &'a Key, values: &'a BTreeSet<Rdata>) -> BoxFuture<'a, Result<(), NameError>> {
        let values: Vec<Rdata> = values.iter().cloned().collect();
        Box::pin(async move { self.make(key, &values).await })
    }

    fn remove<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<(), NameError>> {
        Box::pin(async move {
            match self.change(key, Change::Remove).await? {
                // Gone already, or somebody else's by now.
                Rcode::NOERROR | Rcode::NXRRSET => Ok(()),
                other => Err(NameError::Refused(other.to_string())),
            }
        })
    }
}
