//! The messages: DNS UPDATE (RFC 2136) signed by TSIG (RFC 8945).
//!
//! That a name is ours is proven on the server, in the same message that changes it: beside each name of
//! ours stands a TXT record with the owner's mark, and every change has it as its prerequisite.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr as _;
use std::sync::Arc;

use domain::base::iana::{Class, Opcode, Rcode, Rtype};
use domain::base::message_builder::{AdditionalBuilder, AnswerBuilder, AuthorityBuilder, PushError};
use domain::base::name::FromStrError;
use domain::base::rdata::UnknownRecordData;
use domain::base::{Message, MessageBuilder, Name, Record, Rtype as Type, Ttl};
use domain::rdata::tsig::Time48;
use domain::rdata::{A, Aaaa, Cname, Srv, Txt};
use domain::tsig::{ClientTransaction, Key as TsigKey, ValidationError};

use super::{Key, NameError};
use crate::wish::NameKind;

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rdata {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name.
    Cname(Arc<str>),
    /// Where a service is: RFC 2782.
    Srv {
        /// The smallest is tried first.
        priority: u16,
        /// Share among equals.
        weight: u16,
        /// Where it listens.
        port: u16,
        /// On which host.
        target: Arc<str>,
    },
    /// Text of at most 255 bytes.
    Txt(Arc<str>),
}

/// Who makes the names: a word that stays the same for good, so that one knows one's own again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner(String);

/// A zone, an owner or a name that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// Not a name.
    #[error("\"{0}\" is not a domain name")]
    Name(String),
    /// Not a word.
    #[error("\"{0}\" cannot be an owner: 1 to 63 letters, digits, - . and _")]
    Owner(String),
}

impl Owner {
    /// # Errors
    /// [`ZoneError::Owner`].
    pub fn new(text: &str) -> Result<Owner, ZoneError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if (1..=63).contains(&text.len()) && text.chars().all(plain) {
            return Ok(Owner(text.to_owned()));
        }
        Err(ZoneError::Owner(text.chars().take(80).collect()))
    }

    /// The word.
    pub fn word(&self) -> &str {
        &self.0
    }

    pub(super) fn mark(&self) -> String {
        format!("{MARK}{}", self.0)
    }
}

/// Begins every owner's mark.
pub(super) const MARK: &str = "portolan-owner=";

pub(super) type WireName = Name<Vec<u8>>;

/// A change of one name, with what has to be true for it.
pub(super) enum Change<'a> {
    /// It is ours: replace what is there.
    Replace(&'a [Rdata]),
    /// It is nobody's: make it ours.
    Create(&'a [Rdata]),
    /// It carries this mark: make it ours.
    Adopt(&'a str, &'a [Rdata]),
    /// It is ours: remove it and the mark.
    Remove,
}

/// A change of one name.
pub(super) struct Update<'a> {
    pub(super) zone: &'a WireName,
    pub(super) key: &'a Key,
    pub(super) mark: &'a str,
    pub(super) ttl: Ttl,
    pub(super) change: Change<'a>,
}

/// A signed message, and what checks the answer to it.
pub(super) type Signed = (Vec<u8>, ClientTransaction<Arc<TsigKey>>);

pub(super) fn wire(name: &str) -> Result<WireName, ZoneError> {
    Name::from_str(name).map_err(|_: FromStrError| ZoneError::Name(name.chars().take(80).collect()))
}

/// What has to be true.
pub(super) type Demands = AnswerBuilder<Vec<u8>>;
/// What is done then.
pub(super) type Changes = AuthorityBuilder<Vec<u8>>;

/// Writes and signs a message about a zone.
pub(super) fn signed(
    zone: &WireName,
    key: Arc<TsigKey>,
    demand: impl FnOnce(&mut Demands) -> Result<(), PushError>,
    change: impl FnOnce(&mut Changes) -> Result<(), PushError>,
) -> Result<Signed, NameError> {
    let built = || -> Result<AdditionalBuilder<Vec<u8>>, PushError> {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(fastrand::u16(..));
        builder.header_mut().set_opcode(Opcode::UPDATE);
        let mut question = builder.question();
        question.push((zone, Rtype::SOA, Class::IN))?;
        let mut demands = question.answer();
        demand(&mut demands)?;
        let mut changes = demands.authority();
        change(&mut changes)?;
        Ok(changes.additional())
    };
    let mut message = built().map_err(|error| NameError::Refused(error.to_string()))?;
    let transaction = ClientTransaction::request(key, &mut message, Time48::now())
        .map_err(|error| NameError::Refused(error.to_string()))?;
    Ok((message.finish(), transaction))
}

/// A name for a message.
pub(super) fn named(name: &str) -> Result<WireName, NameError> {
    wire(name).map_err(|error| NameError::Refused(error.to_string()))
}

impl Update<'_> {
    /// Writes and signs it.
    pub(super) fn compose(&self, key: Arc<TsigKey>) -> Result<Signed, NameError> {
        let (name, side) = (named(&self.key.0)?, named(&side_name(self.key))?);
        signed(self.zone, key, |to| self.demand(to, &name, &side), |to| self.make(to, &name, &side))
    }

    fn demand(&self, to: &mut Demands, name: &WireName, side: &WireName) -> Result<(), PushError> {
        let is_alias = self.key.1 == NameKind::Cname;
        match self.change {
            Change::Replace(_) | Change::Remove => stands(to, side, self.mark)?,
            Change::Adopt(theirs, _) => stands(to, side, theirs)?,
            Change::Create(_) => {
                nothing_there(to, side, Rtype::ANY)?;
                nothing_there(to, name, if is_alias { Rtype::ANY } else { rtype(self.key.1) })?;
            }
        }
        match self.change {
            Change::Remove => Ok(()),
            _ if is_alias => Ok(()),
            _ => no_alias(to, name),
        }
    }

    fn make(&self, to: &mut Changes, name: &WireName, side: &WireName) -> Result<(), PushError> {
        match self.change {
            Change::Replace(values) => {
                empty(to, name, rtype(self.key.1))?;
                add(to, name, self.ttl, values)
            }
            Change::Create(values) => {
                to.push((side, Class::IN, self.ttl, text(self.mark)))?;
                add(to, name, self.ttl, values)
            }
            Change::Adopt(_, values) => {
                empty(to, side, Rtype::TXT)?;
                to.push((side, Class::IN, self.ttl, text(self.mark)))?;
                empty(to, name, rtype(self.key.1))?;
                add(to, name, self.ttl, values)
            }
            Change::Remove => {
                empty(to, name, rtype(self.key.1))?;
                empty(to, side, Rtype::TXT)
            }
        }
    }
}

/// "RRset exists, value dependent", section 2.4.2: this text and nothing else.
pub(super) fn stands(to: &mut Demands, name: &WireName, said: &str) -> Result<(), PushError> {
    to.push((name, Class::IN, 0, text(said)))
}

/// "Add to an RRset", section 2.5.1.
pub(super) fn add(to: &mut Changes, name: &WireName, ttl: Ttl, values: &[Rdata]) -> Result<(), PushError> {
    each(to, name, Class::IN, ttl, values)
}

/// "Delete an RR from an RRset", section 2.5.4.
pub(super) fn take_away(to: &mut Changes, name: &WireName, values: &[Rdata]) -> Result<(), PushError> {
    each(to, name, Class::NONE, Ttl::ZERO, values)
}

fn each(
    to: &mut Changes,
    name: &WireName,
    class: Class,
    ttl: Ttl,
    values: &[Rdata],
) -> Result<(), PushError> {
    for value in values {
        match value {
            Rdata::A(v4) => to.push((name, class, ttl, A::new(*v4)))?,
            Rdata::Aaaa(v6) => to.push((name, class, ttl, Aaaa::new(*v6)))?,
            Rdata::Cname(target) => {
                // What is no name was refused where it was read; nothing is shown for it.
                if let Ok(target) = wire(target) {
                    to.push((name, class, ttl, Cname::new(target)))?;
                }
            }
            Rdata::Srv { priority, weight, port, target } => {
                if let Ok(target) = wire(target) {
                    to.push((name, class, ttl, Srv::new(*priority, *weight, *port, target)))?;
                }
            }
            Rdata::Txt(said) => {
                if let Ok(said) = Txt::<Vec<u8>>::build_from_slice(said.as_bytes()) {
                    to.push((name, class, ttl, said))?;
                }
            }
        }
    }
    Ok(())
}

/// "RRset does not exist", section 2.4.3; with type ANY "name is not in use", section 2.4.5.
pub(super) fn nothing_there(to: &mut Demands, name: &WireName, kind: Type) -> Result<(), PushError> {
    to.push(record(name, Class::NONE, kind))
}

/// Beside an alias a server drops what is added, and says that all is well: section 3.4.2.2.
pub(super) fn no_alias(to: &mut Demands, name: &WireName) -> Result<(), PushError> {
    nothing_there(to, name, Rtype::CNAME)
}

/// "Delete an RRset", section 2.5.2.
pub(super) fn empty(to: &mut Changes, name: &WireName, kind: Type) -> Result<(), PushError> {
    to.push(record(name, Class::ANY, kind))
}

fn record(name: &WireName, class: Class, kind: Type) -> Record<&WireName, UnknownRecordData<[u8; 0]>> {
    Record::new(
        name,
        class,
        Ttl::ZERO,
        UnknownRecordData::from_octets(kind, [])
            .unwrap_or_else(|_| unreachable!("nothing is never too long")),
    )
}

pub(super) fn text(mark: &str) -> Txt<Vec<u8>> {
    // What is longer than one string of 255 bytes becomes several; nobody writes more than a message holds.
    Txt::build_from_slice(mark.as_bytes()).unwrap_or_else(|_| unreachable!("a mark is short"))
}

pub(super) fn rtype(kind: NameKind) -> Type {
    match kind {
        NameKind::A => Rtype::A,
        NameKind::Aaaa => Rtype::AAAA,
        NameKind::Cname => Rtype::CNAME,
        NameKind::Srv => Rtype::SRV,
        NameKind::Txt => Rtype::TXT,
    }
}

/// Where the mark stands: beside the name, since nothing may stand with an alias, and for each kind.
pub(super) fn side_name((name, kind): &Key) -> String {
    let kind = match kind {
        NameKind::A => "a",
        NameKind::Aaaa => "aaaa",
        NameKind::Cname => "cname",
        NameKind::Srv => "srv",
        NameKind::Txt => "txt",
    };
    match name.strip_prefix("*.") {
        Some(rest) => format!("_portolan-any-{kind}.{rest}"),
        None => format!("_portolan-{kind}.{name}"),
    }
}

/// Reads the answer and checks its signature.
pub(super) fn reply(bytes: &[u8], transaction: &ClientTransaction<Arc<TsigKey>>) -> Result<Rcode, NameError> {
    let broken = |_| NameError::Silent("its answer is no DNS message".into());
    let mut message = Message::from_octets(bytes.to_vec()).map_err(broken)?;
    let rcode = message.header().rcode();
    match transaction.answer(&mut message, Time48::now()) {
        Ok(()) => Ok(rcode),
        // Who does not know the key cannot sign with it: BIND and Knot then answer without a signature.
        Err(ValidationError::ServerUnsigned) if rcode != Rcode::NOERROR => {
            Err(NameError::Signature(format!("answer {rcode}, unsigned")))
        }
        Err(ValidationError::ServerBadTime { client, server }) => {
            let (ours, theirs) = (u64::from(client), u64::from(server));
            Err(NameError::Clock { apart_s: ours.abs_diff(theirs), is_ours_late: ours < theirs })
        }
        Err(error) => Err(NameError::Signature(error.to_string())),
    }
}

/// Fuzz target: an answer that is not signed is never taken for a yes.
pub fn fuzz_reply(bytes: &[u8]) {
    let Ok(key) =
        super::parse_key("key k { algorithm hmac-sha256; secret \"c2VjcmV0LXNlY3JldC1zZWNyZXQ=\"; }")
    else {
        return;
    };
    let Ok(zone) = wire("example.org") else { return };
    let name: Key = ("www.example.org".into(), NameKind::A);
    let update =
        Update { zone: &zone, key: &name, mark: "m", ttl: Ttl::from_secs(60), change: Change::Remove };
    if let Ok((_, transaction)) = update.compose(key) {
        assert!(reply(bytes, &transaction).is_err(), "nobody can sign this");
    }
}
