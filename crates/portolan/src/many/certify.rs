//! The cluster's authority as Consul's clients see it: its roots, and certificates for services.

use api::{Certified, Refused};
use catalog::{Cluster, Root, RootState};
use cluster::ca::{self, Alone};
use consul::connect::{self, Leaf, Roots};
use consul::instant;

use super::face::Linked;
use crate::config::Config;
use crate::daemon::home::Home;

/// The authority of a node that is alone, where its configuration asks for one. Nothing else needs it, so that a start goes on
/// without.
pub(super) fn alone(config: &Config, home: Option<&Home>) -> Option<Alone> {
    let domain = config.node.authority.as_deref()?;
    let dir = home.map(|home| home.dir().join("authority").join(domain));
    let opened = Alone::open(domain, dir.as_deref(), (cluster::time::system())());
    opened.inspect_err(|why| tracing::warn!(%why, "no certificates for services")).ok()
}

/// Its one root.
pub(super) fn own_root(alone: &Alone) -> Option<Roots> {
    let root = root(alone.domain(), alone.root_key(), alone.root())?;
    Some(Roots {
        active_root_id: alone.root_key().into(),
        trust_domain: alone.domain().into(),
        roots: vec![connect::Root { active: true, create_index: 1, modify_index: 1, ..root }],
    })
}

/// Every root that is trusted; nothing where there is no cluster.
pub(super) fn roots(known: &Cluster) -> Option<Roots> {
    let active = known.active_root()?;
    Some(Roots {
        active_root_id: active.key.to_string().into(),
        trust_domain: known.id().clone(),
        roots: known.roots().filter_map(|root| shown(known, root)).collect(),
    })
}

/// One root. One that cannot be read is no certificate, and is left out.
fn shown(known: &Cluster, root: &Root) -> Option<connect::Root> {
    let cross = root.cross.as_ref().and_then(|der| Some(vec![ca::shown(der).ok()?.pem.into()]));
    Some(connect::Root {
        intermediates: cross,
        active: root.state == RootState::Active,
        create_index: root.modify_index,
        modify_index: root.modify_index,
        ..self::root(known.id(), &root.key.to_string(), &root.certificate)?
    })
}

/// What its certificate says of a root.
fn root(domain: &str, key: &str, der: &[u8]) -> Option<connect::Root> {
    let certificate = ca::shown(der).ok()?;
    let serial = &certificate.serial;
    let last = serial.get(serial.len().saturating_sub(16)..).unwrap_or_default();
    Some(connect::Root {
        name: format!("portolan {domain} root").into(),
        serial_number: u64::from_str_radix(last, 16).unwrap_or(0),
        signing_key_id: connect::in_pairs(key).into(),
        id: key.into(),
        external_trust_domain: domain.into(),
        not_before: instant::write(certificate.validity.from_ms).into(),
        not_after: instant::write(certificate.validity.until_ms).into(),
        certificate: certificate.pem.into(),
        private_key_type: "ec".into(),
        private_key_bits: 256,
        ..connect::Root::default()
    })
}

/// A key and a certificate for a service.
///
/// # Errors
/// [`Refused`]: this node is alone, or an agent; a service name that is none.
pub(super) fn service(
    (linked, own): (Option<&Linked>, Option<&Alone>),
    datacenter: &str,
    service: &str,
) -> Result<Certified, Refused> {
    let now_ms = (cluster::time::system())();
    let made = match (linked, own) {
        (Some(linked), _) => {
            linked.local.with(|identity| ca::certify_service(identity, datacenter, service, now_ms))
        }
        (None, Some(own)) => own.certify(datacenter, service, now_ms),
        (None, None) => return Err(Refused::Conflict("certify a service: this node is alone".into())),
    };
    let made = made.map_err(|error| match error {
        cluster::Error::NotServer { .. } => Refused::Unavailable(format!("{error}; ask a server's API")),
        error => Refused::Conflict(error.to_string()),
    })?;
    let leaf = Leaf {
        serial_number: connect::in_pairs(&made.serial).into(),
        certificate: made.chain.into(),
        key: made.key.into(),
        service: service.into(),
        service_uri: made.uri.into(),
        valid_after: instant::write(made.validity.from_ms).into(),
        valid_before: instant::write(made.validity.until_ms).into(),
        create_index: 0,
        modify_index: 0,
    };
    Ok(Certified { leaf, renew_at_ms: made.validity.renew_at_ms() })
}
