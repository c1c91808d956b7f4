//! What people are shown of a certificate.

use std::fmt::Write as _;

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::ca::Validity;
use crate::error::Error;
use crate::identity::pem_of;

/// What people are shown of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Time in which it counts; zeros where it is written as no certificate of ours is.
    pub validity: Validity,
    /// The certificate, PEM.
    pub pem: String,
}

/// Reads a certificate of ours.
///
/// # Errors
/// [`Error::Crypto`]: it is none.
pub fn shown(der: &[u8]) -> Result<Shown, Error> {
    let certificate = CertificateDer::from(der);
    let parsed = EndEntityCert::try_from(&certificate)
        .map_err(|cause| Error::Crypto { attempted: "read a certificate", reason: cause.to_string() })?;
    let serial = parsed.serial().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    Ok(Shown { serial, validity: validity(der).unwrap_or_default(), pem: pem_of(&[der.to_vec()]) })
}

/// SEQUENCE, INTEGER, UTCTime and GeneralizedTime, and the version's own tag (X.690; RFC 5280 section 4.1).
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// Certificate → tbsCertificate → version, serialNumber, signature, issuer, validity.
fn validity(der: &[u8]) -> Option<Validity> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    for tag in [VERSION, INTEGER, SEQUENCE, SEQUENCE] {
        rest = element(rest, tag)?.1;
    }
    let (times, _) = element(rest, SEQUENCE)?;
    let (from_ms, times) = time(times)?;
    Some(Validity { from_ms, until_ms: time(times)?.0 })
}

/// The content of the element that comes first, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), rest.get(2..)?),
        _ => return None,
    };
    (found == tag && length <= rest.len()).then(|| rest.split_at(length))
}

fn time(der: &[u8]) -> Option<(u64, &[u8])> {
    let (text, rest, century) = match element(der, UTC_TIME) {
        // RFC 5280 section 4.1.2.5.1: below 50 it is this century.
        Some((text, rest)) => (text, rest, if *text.first()? < b'5' { "20" } else { "19" }),
        None => element(der, GENERALIZED_TIME).map(|(text, rest)| (text, rest, ""))?,
    };
    let digits = format!("{century}{}", str::from_utf8(text).ok()?);
    let part = |from: usize, to: usize| digits.get(from..to);
    let written = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?
    );
    Some((consul::instant::read(&written)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::{ROOT_MS, Root};
    use crate::time::YEAR_MS;

    #[test]
    fn a_certificate_of_ours_is_shown_with_its_time() {
        for now_ms in [0, 1_763_700_000_000, 40 * YEAR_MS] {
            let root = Root::generate("c", now_ms).expect("a root");
            let shown = shown(root.certificate()).expect("a certificate");
            assert_eq!(shown.validity, Validity::from_now(now_ms, ROOT_MS), "{now_ms}");
            assert_eq!(shown.serial.len(), 32);
            assert!(shown.pem.starts_with("-----BEGIN CERTIFICATE-----"));
        }
    }

    #[test]
    fn bytes_that_are_none_are_refused() {
        let root = Root::generate("c", 0).expect("a root");
        let der = root.certificate();
        for end in 0..der.len() {
            assert!(shown(&der[..end]).is_err());
            validity(&der[..end]);
        }
        for at in 0..der.len() {
            let mut bent = der.to_vec();
            bent[at] ^= 0xff;
            validity(&bent);
        }
    }
}
