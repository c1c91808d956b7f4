//! A name server that takes updates.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::base::Ttl;
use domain::base::iana::Rcode;
use domain::tsig::Key as TsigKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::shared::{Share, Step, answered, question};
use super::update::{
    Change, Owner, Rdata, Signed, Update, WireName, ZoneError, named, reply, side_name, wire,
};
use super::{BoxFuture, Key, NameError, Provider, transfer};
use crate::wish::NameKind;

/// Longest that one update may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How often a shared name is tried while others change it too, and what is waited longest between.
const SHARING: u32 = 8;
const SHARING_PAUSE_MS: u64 = 250;

/// Which server, which zones, and as whom.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its address; updates go by TCP.
    pub server: SocketAddr,
    /// Zones that may be written, and no others.
    pub zones: Vec<String>,
    /// Who we are, for good.
    pub owner: Owner,
    /// Owners whose names become ours when we show them: who we were, or whoever left them.
    pub adopt: Vec<Owner>,
    /// Others who show the same names with addresses of their own are of this group; without one nobody is.
    pub group: Option<Owner>,
    /// How long others may remember what they asked.
    pub ttl: Duration,
}

/// A server of RFC 2136.
pub struct Rfc2136 {
    server: SocketAddr,
    zones: Vec<(String, WireName)>,
    mark: String,
    adopt: Vec<String>,
    share: Option<Share>,
    ttl: Ttl,
    key: Arc<TsigKey>,
    made: Mutex<BTreeSet<Key>>,
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
        let adopt = config.adopt.iter().map(Owner::mark).collect();
        let share = config.group.as_ref().map(|group| Share::new(group, &config.owner));
        let (server, mark, made) = (config.server, config.owner.mark(), Mutex::default());
        Ok(Rfc2136 { server, zones, mark, adopt, share, ttl, key, made })
    }

    /// Names in our zones that carry an owner's mark, each with its owner. The key must be allowed to transfer them.
    ///
    /// # Errors
    /// [`NameError`]: a server that refuses, or is silent.
    pub async fn marked(&self) -> Result<Vec<(Key, String)>, NameError> {
        let mut found = Vec::new();
        for (_, zone) in &self.zones {
            found.extend(transfer::marked(self.server, zone, self.key.clone()).await?);
        }
        Ok(found)
    }

    /// The zone that a name is in: of several, the longest.
    fn zone(&self, name: &str) -> Result<&WireName, NameError> {
        let zones = self.zones.iter().filter(|(zone, _)| super::several::is_in(name, zone));
        zones.max_by_key(|(zone, _)| zone.len()).map(|(_, wire)| wire).ok_or(NameError::Outside)
    }

    async fn change(&self, key: &Key, change: Change<'_>) -> Result<Rcode, NameError> {
        let update = Update { zone: self.zone(&key.0)?, key, mark: &self.mark, ttl: self.ttl, change };
        self.send(update.compose(self.key.clone())?).await
    }

    async fn send(&self, (message, transaction): Signed) -> Result<Rcode, NameError> {
        reply(&self.ask(&message).await?, &transaction)
    }

    async fn ask(&self, message: &[u8]) -> Result<Vec<u8>, NameError> {
        match tokio::time::timeout(LIMIT, exchange(self.server, message)).await {
            Ok(answer) => answer.map_err(|cause| NameError::Silent(format!("{}: {cause}", self.server))),
            Err(_) => Err(NameError::Silent(format!("{} did not answer within {LIMIT:?}", self.server))),
        }
    }

    /// The group that this name is shown with.
    fn share(&self, key: &Key) -> Option<&Share> {
        self.share.as_ref().filter(|_| key.1 != NameKind::Cname)
    }

    /// What stands beside a name.
    async fn beside(&self, key: &Key) -> Result<Vec<String>, NameError> {
        let side = named(&side_name(key))?;
        let (id, question) = question(&side)?;
        answered(&self.ask(&question).await?, id, &side)
    }

    /// Makes our part of a shared name exactly this; nothing takes it away.
    async fn part(&self, share: &Share, key: &Key, values: &[Rdata]) -> Result<(), NameError> {
        let zone = self.zone(&key.0)?;
        let mut was_free = false;
        for turn in 0..SHARING {
            let found = self.beside(key).await?;
            if values.is_empty() && share.own(&found).is_none() {
                return Ok(());
            }
            // What was refused as taken, and is nobody's still, was not made by us.
            if !share.may_join(&found) || (found.is_empty() && was_free) {
                return Err(NameError::Foreign(share.mark().to_owned()));
            }
            let step = Step { zone, key, ttl: self.ttl, found: &found, values };
            match self.send(share.compose(&step, self.key.clone())?).await? {
                Rcode::NOERROR => return Ok(()),
                // Not so any more: others change the same name.
                Rcode::NXRRSET | Rcode::YXRRSET | Rcode::YXDOMAIN => was_free = found.is_empty(),
                other => return Err(NameError::Refused(other.to_string())),
            }
            let pause_ms = fastrand::u64(..SHARING_PAUSE_MS) * u64::from(turn.min(1));
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
        Err(NameError::Refused(format!("{SHARING} times that others had changed it meanwhile")))
    }

    /// What is most likely comes first: some servers let an update that follows another at once wait for a second.
    async fn make(&self, key: &Key, values: &[Rdata]) -> Result<(), NameError> {
        let mut changes = [Change::Create(values), Change::Replace(values)];
        if self.made().contains(key) {
            changes.reverse();
        }
        for change in changes {
            match self.change(key, change).await? {
                Rcode::NOERROR => {
                    self.made().insert(key.clone());
                    return Ok(());
                }
                // It is there already, or not there, or not ours.
                Rcode::YXDOMAIN | Rcode::YXRRSET | Rcode::NXRRSET => {}
                other => return Err(NameError::Refused(other.to_string())),
            }
        }
        for theirs in &self.adopt {
            if self.take(key, values, theirs).await? {
                return Ok(());
            }
        }
        Err(NameError::Foreign(self.mark.clone()))
    }

    /// Names that are there, as far as this run knows.
    fn made(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a name ours that carries this mark; false when it does not.
    async fn take(&self, key: &Key, values: &[Rdata], theirs: &str) -> Result<bool, NameError> {
        match self.change(key, Change::Adopt(theirs, values)).await? {
            Rcode::NOERROR => {
                tracing::info!(name = %key.0, from = theirs, "took a public name over");
                Ok(true)
            }
            Rcode::NXRRSET | Rcode::YXRRSET => Ok(false),
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
        Box::pin(async move {
            match self.share(key) {
                Some(share) => self.part(share, key, &values).await,
                None => self.make(key, &values).await,
            }
        })
    }

    fn adopt<'a>(
        &'a self,
        key: &'a Key,
        values: &'a BTreeSet<Rdata>,
        from: &'a Owner,
    ) -> BoxFuture<'a, Result<(), NameError>> {
        let values: Vec<Rdata> = values.iter().cloned().collect();
        Box::pin(async move {
            match self.take(key, &values, &from.mark()).await? {
                true => Ok(()),
                false => Err(NameError::Foreign(self.mark.clone())),
            }
        })
    }

    fn remove<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<(), NameError>> {
        Box::pin(async move {
            if let Some(share) = self.share(key) {
                return self.part(share, key, &[]).await;
            }
            self.made().remove(key);
            match self.change(key, Change::Remove).await? {
                // Gone already, or somebody else's by now.
                Rcode::NOERROR | Rcode::NXRRSET => Ok(()),
                other => Err(NameError::Refused(other.to_string())),
            }
        })
    }
}
