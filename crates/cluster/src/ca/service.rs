//! Certificates of services, for programs that prove by themselves which service they are.

use crate::ca::{Authority, LEAF_MS, Validity, service_uri, shown};
use crate::error::Error;
use crate::identity::{Identity, pem_of};
use crate::keys::Key;

/// A service's key with its certificate. Nothing prints it.
pub struct ServiceCertificate {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// The certificate and its issuer's, PEM.
    pub chain: String,
    /// The private key, PKCS#8 in PEM.
    pub key: String,
    /// The one SPIFFE id in it.
    pub uri: String,
    /// Time in which it counts.
    pub validity: Validity,
}

/// Makes a key for a service and certifies it, for as long as a node's certificate.
///
/// # Errors
/// On an agent; a service name that is none; [`Error::Crypto`].
pub fn certify_service(
    identity: &Identity,
    datacenter: &str,
    service: &str,
    now_ms: u64,
) -> Result<ServiceCertificate, Error> {
    let authority = identity.authority("certify a service")?;
    certified(authority, identity.facts.issuer_validity.until_ms, (datacenter, service), now_ms)
}

/// The same by any authority, whose own certificate counts until then.
pub(super) fn certified(
    authority: &Authority,
    latest_ms: u64,
    (datacenter, service): (&str, &str),
    now_ms: u64,
) -> Result<ServiceCertificate, Error> {
    catalog::validate::label("service name", service)?;
    let wished = Validity::from_now(now_ms, LEAF_MS);
    let validity = Validity { until_ms: wished.until_ms.min(latest_ms), ..wished };
    let key = Key::generate()?;
    let chain = authority.sign_service((datacenter, service), &key.public(), validity)?;
    Ok(ServiceCertificate {
        serial: shown(chain.first().map_or(&[], Vec::as_slice))?.serial,
        chain: pem_of(&chain),
        key: key.to_pem(),
        uri: service_uri(authority.cluster(), datacenter, service),
        validity,
    })
}
