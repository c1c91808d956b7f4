//! The cluster's authority as Consul's clients see it: its roots, and certificates for services.

use api::{Certified, Refused};
use catalog::{Cluster, Root, RootState};
use cluster::ca;
use consul::connect::{self, Leaf, Roots};
use consul::instant;

use super::face::Linked;

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
    let certificate = ca::shown(&root.certificate).ok()?;
    let cross = root.cross.as_ref().and_then(|der| Some(vec![ca::shown(der).ok()?.pem.into()]));
    let (key, serial) = (root.key.to_string(), &certificate.serial);
    let last = serial.get(serial.len().saturating_sub(16)..).unwrap_or_default();
    Some(connect::Root {
        name: format!("portolan {} root", known.id()).into(),
        serial_number: u64::from_str_radix(last, 16).unwrap_or(0),
        signing_key_id: connect::in_pairs(&key).into(),
        id: key.into(),
        external_trust_domain: known.id().clone(),
        not_before: instant::write(certificate.validity.from_ms).into(),
        not_after: instant::write(certificate.validity.until_ms).into(),
        certificate: certificate.pem.into(),
        intermediates: cross,
        active: root.state == RootState::Active,
        private_key_type: "ec".into(),
        private_key_bits: 256,
        create_index: root.modify_index,
        modify_index: root.modify_index,
    })
}

/// A key and a certificate for a service.
///
/// # Errors
/// [`Refused`]: this node is alone, or an agent; a service name that is none.
pub(super) fn service(
    linked: Option<&Linked>,
    datacenter: &str,
    service: &str,
) -> Result<Certified, Refused> {
    let alone = || Refused::Conflict("certify a service: this node is alone".into());
    let now_ms = (cluster::time::system())();
    let local = &linked.ok_or_else(alone)?.local;
    let made = local.with(|identity| ca::certify_service(identity, datacenter, service, now_ms));
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
