//! What our certificates say: subjects, names, uses, time.

use std::time::Duration;

use catalog::KeyHash;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};

use crate::ca::BACKDATE_MS;
use crate::error::{Error, crypto};
use crate::keys::random;

/// Time in which a certificate counts, in Unix milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Validity {
    /// From.
    pub from_ms: u64,
    /// Until.
    pub until_ms: u64,
}

impl Validity {
    /// From a little before now on, for so long.
    pub fn from_now(now_ms: u64, length_ms: u64) -> Validity {
        Validity { from_ms: now_ms.saturating_sub(BACKDATE_MS), until_ms: now_ms.saturating_add(length_ms) }
    }

    /// When it is time to renew: at two thirds of what is counted from now.
    pub fn renew_at_ms(&self) -> u64 {
        let begun = self.from_ms.saturating_add(BACKDATE_MS).min(self.until_ms);
        begun + (self.until_ms - begun) / 3 * 2
    }
}

/// The name of a node in its certificate (SPIFFE ID, section 2).
pub fn node_uri(cluster: &str, node: &str) -> String {
    format!("spiffe://{cluster}/node/{node}")
}

pub(super) fn root(cluster: &str, key: KeyHash, validity: Validity) -> Result<CertificateParams, Error> {
    let subject = format!("portolan {cluster} root {}", &key.to_string()[..12]);
    authority(subject, BasicConstraints::Constrained(2), validity)
}

pub(super) fn issuer(cluster: &str, key: KeyHash, validity: Validity) -> Result<CertificateParams, Error> {
    let subject = format!("portolan {cluster} issuer {}", &key.to_string()[..12]);
    authority(subject, BasicConstraints::Constrained(0), validity)
}

fn authority(
    subject: String,
    constraints: BasicConstraints,
    validity: Validity,
) -> Result<CertificateParams, Error> {
    let mut params = blank(subject, validity)?;
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

pub(super) fn node(cluster: &str, node: &str, validity: Validity) -> Result<CertificateParams, Error> {
    leaf(node, vec![uri(node_uri(cluster, node))?], validity)
}

/// Another path than a node's, so that it never passes for one; a DNS name for those who look there.
pub(super) fn workload(cluster: &str, name: &str, validity: Validity) -> Result<CertificateParams, Error> {
    let mut names = vec![uri(format!("spiffe://{cluster}/workload/{name}"))?];
    names.push(match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(text(name.to_owned())?),
    });
    leaf(name, names, validity)
}

/// The name of a service in its certificate, in the form that Consul's clients expect.
pub fn service_uri(cluster: &str, datacenter: &str, service: &str) -> String {
    format!("spiffe://{cluster}/ns/default/dc/{datacenter}/svc/{service}")
}

/// The one name by its id, and a DNS name for those who look there.
pub(super) fn service(
    cluster: &str,
    datacenter: &str,
    service: &str,
    validity: Validity,
) -> Result<CertificateParams, Error> {
    let names =
        vec![uri(service_uri(cluster, datacenter, service))?, SanType::DnsName(text(service.to_owned())?)];
    leaf(service, names, validity)
}

fn leaf(name: &str, names: Vec<SanType>, validity: Validity) -> Result<CertificateParams, Error> {
    let mut params = blank(name.to_owned(), validity)?;
    params.subject_alt_names = names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn blank(subject: String, validity: Validity) -> Result<CertificateParams, Error> {
    let epoch = date_time_ymd(1970, 1, 1);
    let mut serial: [u8; 16] = random()?;
    serial[0] &= 0x7f;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // RFC 5280 appendix A.1: a common name has at most 64 characters. Nobody is identified by it.
    params.distinguished_name.push(DnType::CommonName, subject.chars().take(64).collect::<String>());
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = epoch + Duration::from_secs(validity.from_ms / 1000);
    params.not_after = epoch + Duration::from_secs(validity.until_ms / 1000);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn uri(name: String) -> Result<SanType, Error> {
    text(name).map(SanType::URI)
}

fn text(name: String) -> Result<Ia5String, Error> {
    name.try_into().map_err(|cause: rcgen::Error| crypto("write a name into a certificate")(cause))
}
