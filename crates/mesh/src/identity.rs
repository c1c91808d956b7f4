//! Names and key hashes in certificates.

use std::fmt;
use std::str::FromStr;

use ring::digest;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::trust::Naming;

/// SHA-256 of a public key (`SubjectPublicKeyInfo`, RFC 5280 section 4.1, with its outer tag). What tokens and
/// the deny list name: a certificate's own hash changes at each renewal, and with a malleable signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub [u8; 32]);

/// Why a certificate names no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotNamed {
    /// Not a certificate.
    #[error("not a certificate that can be read: {0}")]
    Unreadable(String),
    /// No URI at all.
    #[error("it has no URI name; a node's certificate has exactly one, spiffe://{domain}/node/<name>")]
    NoUri {
        /// The trust domain that was wanted.
        domain: String,
    },
    /// More than one: which of them is meant must never be a matter of order.
    #[error("it has {0} URI names; a node's certificate has exactly one")]
    ManyUris(usize),
    /// A URI of another form or of another trust domain.
    #[error("its URI name is {uri:?}, not spiffe://{domain}/node/<name>")]
    OtherUri {
        /// What it has.
        uri: String,
        /// The trust domain that was wanted.
        domain: String,
    },
    /// No DNS name.
    #[error("it has no DNS name (subjectAltName)")]
    NoDnsName,
}

impl KeyHash {
    /// Of a `SubjectPublicKeyInfo` in DER.
    pub fn of_public_key(spki: &[u8]) -> KeyHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, spki).as_ref());
        KeyHash(hash)
    }

    /// Of the public key in a certificate.
    ///
    /// # Errors
    /// Bytes that are no certificate.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<KeyHash, webpki::Error> {
        let parsed = EndEntityCert::try_from(certificate)?;
        Ok(KeyHash::of_public_key(parsed.subject_public_key_info().as_ref()))
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key hash is 64 hexadecimal digits")]
pub struct NotAKeyHash;

impl FromStr for KeyHash {
    type Err = NotAKeyHash;

    fn from_str(text: &str) -> Result<KeyHash, NotAKeyHash> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(NotAKeyHash);
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(NotAKeyHash);
            *byte = (digit(0)? * 16 + digit(1)?) as u8;
        }
        Ok(KeyHash(hash))
    }
}

/// The name in a certificate. Says nothing of who signed it.
///
/// # Errors
/// [`NotNamed`].
pub fn name_of(certificate: &CertificateDer<'_>, naming: &Naming) -> Result<String, NotNamed> {
    let parsed =
        EndEntityCert::try_from(certificate).map_err(|error| NotNamed::Unreadable(error.to_string()))?;
    match naming {
        Naming::Spiffe { domain } => spiffe_name(parsed.valid_uri_names(), domain),
        Naming::Dns => parsed.valid_dns_names().next().map(str::to_owned).ok_or(NotNamed::NoDnsName),
    }
}

/// Every name that a certificate stands for: one, or all of its DNS names.
pub(crate) fn names_of(certificate: &CertificateDer<'_>, naming: &Naming) -> Vec<String> {
    match (naming, EndEntityCert::try_from(certificate)) {
        (Naming::Dns, Ok(parsed)) => parsed.valid_dns_names().map(str::to_owned).collect(),
        _ => name_of(certificate, naming).into_iter().collect(),
    }
}

/// True if a certificate stands for this name.
pub(crate) fn is_named(certificate: &EndEntityCert<'_>, naming: &Naming, name: &str) -> bool {
    match naming {
        Naming::Spiffe { domain } => {
            spiffe_name(certificate.valid_uri_names(), domain).is_ok_and(|own| own == name)
        }
        Naming::Dns => certificate.valid_dns_names().any(|own| own.eq_ignore_ascii_case(name)),
    }
}

fn spiffe_name<'a>(uris: impl Iterator<Item = &'a str>, domain: &str) -> Result<String, NotNamed> {
    let uris: Vec<&str> = uris.collect();
    let uri = match uris[..] {
        [] => return Err(NotNamed::NoUri { domain: domain.to_owned() }),
        [uri] => uri,
        _ => return Err(NotNamed::ManyUris(uris.len())),
    };
    let name = uri
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.strip_prefix(domain))
        .and_then(|rest| rest.strip_prefix("/node/"))
        .filter(|name| is_node_name(name));
    name.map(str::to_owned)
        .ok_or_else(|| NotNamed::OtherUri { uri: uri.to_owned(), domain: domain.to_owned() })
}

/// Letters, digits, `-`, `_` and `.`, 1 to 128 of them: what a SPIFFE path segment may hold, so that no
/// encoding of a name is another name.
pub fn is_node_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 128 && name != "." && name != ".." && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_name_is_one_and_of_this_domain() {
        let name = |uris: &[&str]| spiffe_name(uris.iter().copied(), "blue.example");
        assert_eq!(name(&["spiffe://blue.example/node/a-1"]).unwrap(), "a-1");
        assert_eq!(name(&[]).unwrap_err(), NotNamed::NoUri { domain: "blue.example".into() });
        assert_eq!(
            name(&["spiffe://blue.example/node/a", "spiffe://blue.example/node/b"]).unwrap_err(),
            NotNamed::ManyUris(2)
        );
        for other in [
            "spiffe://blue.example.evil/node/a",
            "spiffe://blue.example/node/",
            "spiffe://blue.example/node/a/b",
            "spiffe://blue.example/node/a%2f",
            "spiffe://blue.example/service/a",
            "https://blue.example/node/a",
            "spiffe://blue.example/node/..",
        ] {
            assert!(matches!(name(&[other]), Err(NotNamed::OtherUri { .. })), "{other}");
        }
    }

    #[test]
    fn a_key_hash_is_read_as_it_is_written() {
        let hash = KeyHash::of_public_key(b"key");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!("12".parse::<KeyHash>(), Err(NotAKeyHash));
        assert_eq!("zz".repeat(32).parse::<KeyHash>(), Err(NotAKeyHash));
    }
}
