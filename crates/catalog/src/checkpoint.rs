//! The state as bytes: a header, then one record after another, so that neither writing nor reading holds
//! the whole in memory twice.
//!
//! Records are MessagePack with named fields. A field may be added with `#[serde(default)]`; a new kind of
//! record or another meaning takes a new version, and [`read`] keeps reading the old one.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::acl::{Acl, AclIndexes, AclPolicy, AclRole, AclToken, DefaultPolicy};
use crate::cluster::Cluster;
use crate::exposure::Exposure;
use crate::intention::Intention;
use crate::members::{Down, JoinSecret, Member, Operator};
use crate::model::{
    Check, CheckDef, Index, Instance, InstanceDef, Kind, KvEntry, NodeDef, NodeEntry, Owner, Service,
    Settings, Status,
};
use crate::query::PreparedQuery;
use crate::redirection::Redirection;
use crate::restore::Staged;
use crate::rules::Rules;
use crate::session::Session;
use crate::snapshot::{Proposer, Snapshot, Tables};
use crate::topic::{Event, Message, Retention, Seen, TopicEntry};
use crate::trust::{Denied, Issuer, Root};
use crate::virtual_ip::{Slot, VirtualIp};

const MAGIC: &[u8; 4] = b"PCAT";
/// Version that [`write()`] writes.
pub const CHECKPOINT_VERSION: u8 = 3;

/// Why a checkpoint could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not a checkpoint, or a newer version.
    #[error("read a checkpoint: {0}")]
    Header(String),
    /// A record is damaged or missing.
    #[error("read record {number} of a checkpoint")]
    Record {
        /// Number of the record, from 1.
        number: u64,
        /// Why.
        #[source]
        cause: rmp_serde::decode::Error,
    },
    /// A record refers to something that no earlier record brought.
    #[error("read record {number} of a checkpoint: it refers to {what}, which is missing")]
    Dangling {
        /// Number of the record, from 1.
        number: u64,
        /// What is missing.
        what: String,
    },
}

/// One record. Nodes come before what stands on them.
#[derive(Serialize, Deserialize)]
enum Record {
    Head {
        index: Index,
        time_ms: u64,
        tables: Tables,
        settings: Settings,
        floors: (Index, Index),
    },
    Proposer {
        node: Arc<str>,
        epoch: u64,
        floor: u64,
        above: Vec<u64>,
    },
    Slot {
        address: Ipv4Addr,
        slot: Slot,
    },
    Node {
        def: NodeDef,
        create: Index,
        modify: Index,
        touched: Index,
        #[serde(default)]
        down: Option<Down>,
    },
    Service {
        name: Arc<str>,
        kind: Kind,
        virtual_ip: Option<VirtualIp>,
        port: u16,
        create: Index,
        touched: Index,
    },
    Instance {
        node: Arc<str>,
        def: InstanceDef,
        owner: Owner,
        registered: Index,
        create: Index,
        modify: Index,
        checks: Vec<CheckRecord>,
    },
    NodeCheck {
        node: Arc<str>,
        check: CheckRecord,
    },
    Key {
        key: Arc<str>,
        entry: KvEntry,
    },
    Session(Session),
    Topic {
        name: Arc<str>,
        retention: Retention,
        next: u64,
        producers: Vec<(Arc<str>, Seen)>,
        create: Index,
        modify: Index,
    },
    Message {
        topic: Arc<str>,
        message: Message,
    },
    TopicFloor(u64),
    Event(Event),
    LockDelay {
        key: Arc<str>,
        until_ms: u64,
    },
    GoneService {
        name: Arc<str>,
        index: Index,
    },
    GoneKey {
        key: Arc<str>,
        index: Index,
    },
    End {
        records: u64,
    },
    /// Since version 2, as are all that follow.
    Cluster {
        id: Arc<str>,
        last_server: u64,
        members_index: Index,
        trust_index: Index,
    },
    Member(Member),
    JoinSecret(JoinSecret),
    Operator(Operator),
    Root(Root),
    Issuer(Issuer),
    Denied(Denied),
    /// Since version 3, as are all that follow.
    Rules {
        index: Index,
    },
    Intention(Intention),
    Redirection(Redirection),
    Exposure(Exposure),
    /// Since version 3.
    Query(PreparedQuery),
    RestorePart {
        id: Arc<str>,
        bytes: Bytes,
    },
    /// Who may do what; this and the next three since version 3, only where it was ever touched.
    Acl {
        default: DefaultPolicy,
        indexes: AclIndexes,
    },
    AclToken(AclToken),
    AclPolicy(AclPolicy),
    AclRole(AclRole),
}

#[derive(Serialize, Deserialize)]
struct CheckRecord {
    def: CheckDef,
    status: Status,
    output: Arc<str>,
    since_ms: u64,
    create: Index,
    modify: Index,
}

/// Writes a snapshot.
///
/// # Errors
/// What `to` says.
pub fn write(snapshot: &Snapshot, to: &mut dyn Write) -> io::Result<()> {
    to.write_all(MAGIC)?;
    to.write_all(&[CHECKPOINT_VERSION])?;
    let mut count = 0;
    for record in records(snapshot) {
        count += 1;
        rmp_serde::encode::write_named(to, &record).map_err(io::Error::other)?;
    }
    rmp_serde::encode::write_named(to, &Record::End { records: count }).map_err(io::Error::other)
}

fn records(s: &Snapshot) -> impl Iterator<Item = Record> + '_ {
    let head = Record::Head {
        index: s.index,
        time_ms: s.time_ms,
        tables: s.tables,
        settings: s.settings.clone(),
        floors: (s.gone_services.floor(), s.gone_keys.floor()),
    };
    let proposers = s.proposers.iter().map(|(node, p)| Record::Proposer {
        node: node.clone(),
        epoch: p.epoch,
        floor: p.floor,
        above: p.above.iter().copied().collect(),
    });
    let slots = s.slots.iter().map(|(address, slot)| Record::Slot { address: *address, slot: slot.clone() });
    let keys = s.kv.iter().map(|(key, e)| Record::Key { key: key.clone(), entry: (**e).clone() });
    let sessions = s.sessions().map(|session| Record::Session((**session).clone()));
    let queries = s.queries().map(|query| Record::Query((**query).clone()));
    let staged = s.staged.iter().flat_map(|staged| {
        staged.parts.iter().map(|bytes| Record::RestorePart { id: staged.id.clone(), bytes: bytes.clone() })
    });
    let delays = s.sessions.delays.iter().map(|(k, ms)| Record::LockDelay { key: k.clone(), until_ms: *ms });
    let gone = s.gone_services.iter().map(|(n, index)| Record::GoneService { name: n.clone(), index });
    let gone_keys = s.gone_keys.iter().map(|(k, index)| Record::GoneKey { key: k.clone(), index });
    std::iter::once(head)
        .chain(proposers)
        .chain(slots)
        .chain(s.services().map(|service| service_record(service)))
        .chain(s.nodes().flat_map(node_records))
        .chain(keys)
        .chain(sessions)
        .chain(delays)
        .chain(queries)
        .chain(staged)
        .chain(topic_records(s))
        .chain(s.exposures().map(|exposure| Record::Exposure((**exposure).clone())))
        .chain(gone)
        .chain(gone_keys)
        .chain(cluster_records(&s.cluster))
        .chain(rule_records(&s.rules))
        .chain(acl_records(&s.acl))
}

fn cluster_records(cluster: &Cluster) -> impl Iterator<Item = Record> + '_ {
    let (members_index, trust_index) = (cluster.members_index, cluster.trust_index);
    let own = Record::Cluster {
        id: cluster.id.clone(),
        last_server: cluster.last_server,
        members_index,
        trust_index,
    };
    std::iter::once(own)
        .chain(cluster.members().map(|member| Record::Member((**member).clone())))
        .chain(cluster.join_secrets().cloned().map(Record::JoinSecret))
        .chain(cluster.operators().cloned().map(Record::Operator))
        .chain(cluster.roots().map(|root| Record::Root((**root).clone())))
        .chain(cluster.issuers().map(|issuer| Record::Issuer((**issuer).clone())))
        .chain(cluster.denied().cloned().map(Record::Denied))
}

/// Rules are written, and read again, in their order.
fn rule_records(rules: &Rules) -> impl Iterator<Item = Record> + '_ {
    let head = (rules.index > 0).then_some(Record::Rules { index: rules.index });
    head.into_iter()
        .chain(rules.intentions().map(|intention| Record::Intention((**intention).clone())))
        .chain(rules.redirections().map(|redirection| Record::Redirection((**redirection).clone())))
}

fn acl_records(acl: &Acl) -> impl Iterator<Item = Record> + '_ {
    let own = Record::Acl { default: acl.default, indexes: acl.indexes };
    let own = (acl.index() > 0).then_some(own);
    own.into_iter()
        .chain(acl.policies.values().map(|policy| Record::AclPolicy((**policy).clone())))
        .chain(acl.roles.values().map(|role| Record::AclRole((**role).clone())))
        .chain(acl.tokens.values().map(|token| Record::AclToken((**token).clone())))
}

/// A topic comes before its messages.
fn topic_records(s: &Snapshot) -> impl Iterator<Item = Record> + '_ {
    let topics = s.topics().flat_map(|topic| {
        let head = Record::Topic {
            name: topic.name.clone(),
            retention: topic.retention,
            next: topic.next,
            producers: topic.producers.iter().map(|(id, seen)| (id.clone(), seen)).collect(),
            create: topic.create_index,
            modify: topic.modify_index,
        };
        let messages = topic
            .messages
            .iter()
            .map(|message| Record::Message { topic: topic.name.clone(), message: (**message).clone() });
        std::iter::once(head).chain(messages)
    });
    let floor = (s.topics.floor > 0).then_some(Record::TopicFloor(s.topics.floor));
    let events = s.events().map(|event| Record::Event((**event).clone()));
    topics.chain(floor).chain(events)
}

fn service_record(service: &Service) -> Record {
    Record::Service {
        name: service.name.clone(),
        kind: service.kind,
        virtual_ip: service.virtual_ip,
        port: service.port,
        create: service.create_index,
        touched: service.touched_index,
    }
}

fn node_records(node: &Arc<NodeEntry>) -> impl Iterator<Item = Record> + '_ {
    let own = Record::Node {
        def: (*node.def).clone(),
        create: node.create_index,
        modify: node.modify_index,
        touched: node.touched_index,
        down: node.down,
    };
    let name = &node.def.name;
    let checks = node.checks.iter().map(|c| Record::NodeCheck { node: name.clone(), check: check_record(c) });
    let instances = node.instances.iter().map(|(_, i)| Record::Instance {
        node: name.clone(),
        def: (*i.def).clone(),
        owner: i.owner.clone(),
        registered: i.registered_index,
        create: i.create_index,
        modify: i.modify_index,
        checks: i.checks.iter().map(|c| check_record(c)).collect(),
    });
    std::iter::once(own).chain(checks).chain(instances)
}

fn check_record(check: &Check) -> CheckRecord {
    CheckRecord {
        def: (*check.def).clone(),
        status: check.status,
        output: check.output.clone(),
        since_ms: check.since_ms,
        create: check.create_index,
        modify: check.modify_index,
    }
}

/// Reads what any version up to this one wrote.
///
/// # Errors
/// See [`ReadError`]; nothing is guessed.
pub fn read(mut from: impl Read) -> Result<Snapshot, ReadError> {
    let mut header = [0; 5];
    from.read_exact(&mut header).map_err(|cause| ReadError::Header(cause.to_string()))?;
    if header[..4] != *MAGIC {
        return Err(ReadError::Header("it does not begin with PCAT".into()));
    }
    if header[4] > CHECKPOINT_VERSION {
        return Err(ReadError::Header(format!(
            "version {} is newer than {CHECKPOINT_VERSION}; upgrade this node",
            header[4]
        )));
    }
    let mut snapshot = Snapshot::default();
    let mut number = 0;
    loop {
        number += 1;
        let record =
            rmp_serde::decode::from_read(&mut from).map_err(|cause| ReadError::Record { number, cause })?;
        match record {
            Record::End { records } if records + 1 == number => return Ok(snapshot),
            Record::End { records } => {
                return Err(ReadError::Header(format!("it has {} of {records} records", number - 1)));
            }
            record => restore(&mut snapshot, record).map_err(|what| ReadError::Dangling { number, what })?,
        }
    }
}

fn restore(s: &mut Snapshot, record: Record) -> Result<(), String> {
    match record {
        Record::Head { index, time_ms, tables, settings, floors } => {
            (s.index, s.time_ms, s.tables, s.settings) = (index, time_ms, tables, settings);
            s.gone_services.restore_floor(floors.0);
            s.gone_keys.restore_floor(floors.1);
        }
        Record::Proposer { node, epoch, floor, above } => {
            s.proposers.insert(node, Proposer { epoch, floor, above: above.into_iter().collect() });
        }
        Record::Slot { address, slot } => {
            s.slots.insert(address, slot);
        }
        Record::Service { name, kind, virtual_ip, port, create, touched } => {
            s.changed_services.insert((touched, name.clone()));
            let instances = imbl::OrdMap::new();
            let (create_index, touched_index) = (create, touched);
            let service = Service {
                name: name.clone(),
                kind,
                instances,
                virtual_ip,
                port,
                create_index,
                touched_index,
            };
            s.services.insert(name, Arc::new(service));
        }
        record @ Record::Node { .. } => restore_node(s, record),
        Record::NodeCheck { node, check } => {
            let entry = s.nodes.get_mut(&node).ok_or_else(|| format!("node {node}"))?;
            let check = restore_check(check, &entry.def.name, "".into());
            Arc::make_mut(entry).checks.push(check);
        }
        record @ Record::Instance { .. } => restore_instance(s, record)?,
        record @ (Record::Topic { .. }
        | Record::Message { .. }
        | Record::TopicFloor(_)
        | Record::Event(_)) => restore_topic(s, record)?,
        Record::RestorePart { id, bytes } => {
            let mut staged = s.staged.take().map_or_else(|| Staged::new(id), |staged| (*staged).clone());
            staged.push(bytes);
            s.staged = Some(Arc::new(staged));
        }
        Record::Query(query) => s.queries.insert(Arc::new(query)),
        Record::Session(session) => s.sessions.insert(Arc::new(session)),
        Record::Exposure(exposure) => s.restore_exposure(exposure),
        Record::LockDelay { key, until_ms } => s.sessions.delay(&key, until_ms),
        Record::Key { key, entry } => {
            if let Some(session) = &entry.session {
                s.sessions.held.insert((session.clone(), key.clone()));
            }
            s.kv.insert(key, Arc::new(entry));
        }
        Record::GoneService { name, index } => {
            s.changed_services.insert((index, name.clone()));
            s.gone_services.restore(name, index);
        }
        Record::GoneKey { key, index } => s.gone_keys.restore(key, index),
        Record::End { .. } => {}
        record @ (Record::Rules { .. } | Record::Intention(_) | Record::Redirection(_)) => {
            restore_rules(Arc::make_mut(&mut s.rules), record);
        }
        record @ (Record::Acl { .. } | Record::AclToken(_) | Record::AclPolicy(_) | Record::AclRole(_)) => {
            restore_acl(Arc::make_mut(&mut s.acl), record);
        }
        record => restore_cluster(Arc::make_mut(&mut s.cluster), record),
    }
    Ok(())
}

fn restore_cluster(cluster: &mut Cluster, record: Record) {
    match record {
        Record::Cluster { id, last_server, members_index, trust_index } => {
            (cluster.id, cluster.last_server) = (id, last_server);
            (cluster.members_index, cluster.trust_index) = (members_index, trust_index);
        }
        Record::Member(member) => drop(cluster.members.insert(member.name.clone(), Arc::new(member))),
        Record::JoinSecret(secret) => drop(cluster.secrets.insert(secret.hash, secret)),
        Record::Operator(operator) => drop(cluster.operators.insert(operator.hash, operator)),
        Record::Root(root) => drop(cluster.roots.insert(root.key, Arc::new(root))),
        Record::Issuer(issuer) => drop(cluster.issuers.insert(issuer.node.clone(), Arc::new(issuer))),
        Record::Denied(denied) => drop(cluster.denied.insert(denied.key, denied)),
        _ => {}
    }
}

fn restore_rules(rules: &mut Rules, record: Record) {
    match record {
        Record::Rules { index } => rules.index = index,
        Record::Intention(intention) => rules.intentions.push_back(Arc::new(intention)),
        Record::Redirection(redirection) => {
            rules.redirections.insert(redirection.name.clone(), Arc::new(redirection));
        }
        _ => {}
    }
}

fn restore_acl(acl: &mut Acl, record: Record) {
    match record {
        Record::Acl { default, indexes } => (acl.default, acl.indexes) = (default, indexes),
        Record::AclToken(token) => acl.insert_token(token),
        Record::AclPolicy(policy) => acl.insert_policy(policy),
        Record::AclRole(role) => acl.insert_role(role),
        _ => {}
    }
}

/// A topic comes before its messages.
fn restore_topic(s: &mut Snapshot, record: Record) -> Result<(), String> {
    match record {
        Record::Topic { name, retention, next, producers, create, modify } => {
            let mut entry = TopicEntry {
                name: name.clone(),
                retention,
                messages: imbl::Vector::new(),
                next,
                bytes: 0,
                create_index: create,
                modify_index: modify,
                producers: Default::default(),
            };
            producers.into_iter().for_each(|(id, seen)| entry.producers.put(&id, seen));
            s.topics.by_name.insert(name, Arc::new(entry));
        }
        Record::Message { topic, message } => {
            let entry = s.topics.by_name.get_mut(&topic).ok_or_else(|| format!("topic {topic}"))?;
            Arc::make_mut(entry).append(message);
        }
        Record::TopicFloor(floor) => s.topics.floor = floor,
        Record::Event(event) => s.topics.events.push_back(Arc::new(event)),
        _ => {}
    }
    Ok(())
}

fn restore_node(s: &mut Snapshot, record: Record) {
    let Record::Node { def, create, modify, touched, down } = record else { return };
    let entry = NodeEntry {
        def: Arc::new(def.clone()),
        checks: Vec::new(),
        instances: imbl::OrdMap::new(),
        instance_checks: imbl::OrdMap::new(),
        down,
        create_index: create,
        modify_index: modify,
        touched_index: touched,
    };
    s.nodes.insert(def.name, Arc::new(entry));
}

fn restore_instance(s: &mut Snapshot, record: Record) -> Result<(), String> {
    let Record::Instance { node, mut def, owner, registered, create, modify, checks } = record else {
        return Ok(());
    };
    let entry = s.nodes.get_mut(&node).ok_or_else(|| format!("node {node}"))?;
    let service = s.services.get_mut(&def.service).ok_or_else(|| format!("service {}", def.service))?;
    let entry = Arc::make_mut(entry);
    def.service = service.name.clone();
    let checks: Vec<_> =
        checks.into_iter().map(|c| restore_check(c, &entry.def.name, def.service.clone())).collect();
    for check in &checks {
        entry.instance_checks.insert(check.def.id.clone(), def.id.clone());
    }
    let instance = Arc::new(Instance {
        node: entry.def.name.clone(),
        def: Arc::new(def),
        owner,
        checks,
        registered_index: registered,
        create_index: create,
        modify_index: modify,
    });
    let key = (instance.node.clone(), instance.def.id.clone());
    if *instance.life() != instance.node {
        s.elsewhere.entry(instance.life().clone()).or_default().insert(key.clone());
    }
    entry.instances.insert(key.1.clone(), instance.clone());
    Arc::make_mut(service).instances.insert(key, instance);
    Ok(())
}

fn restore_check(record: CheckRecord, node: &Arc<str>, service: Arc<str>) -> Arc<Check> {
    Arc::new(Check {
        node: node.clone(),
        def: Arc::new(record.def),
        service,
        status: record.status,
        output: record.output,
        since_ms: record.since_ms,
        create_index: record.create,
        modify_index: record.modify,
    })
}
