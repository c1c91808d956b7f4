//! Keys and random numbers. All keys are ECDSA on P-256: what every TLS library of the field takes. No type
//! here can be printed.

use catalog::KeyHash;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use crate::error::{Error, crypto};

/// Length of an uncompressed point on P-256 (SEC 1 section 2.3.3).
const POINT: usize = 65;

/// A private key with its public half.
pub struct Key(KeyPair);

impl Key {
    /// A new key.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Key, Error> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(Key).map_err(crypto("make a key"))
    }

    /// Reads PKCS#8 in PEM.
    ///
    /// # Errors
    /// It is no such key, or of another kind than ECDSA on P-256.
    pub fn from_pem(text: &str) -> Result<Key, Error> {
        let key = KeyPair::from_pem(text).map_err(crypto("read a private key"))?;
        if !key.is_compatible(&PKCS_ECDSA_P256_SHA256) {
            let reason = "it is not an ECDSA key on P-256".into();
            return Err(Error::Crypto { attempted: "read a private key", reason });
        }
        Ok(Key(key))
    }

    /// PKCS#8 in PEM. Goes into files of mode 0600 and to other servers, nowhere else.
    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// PKCS#8 in DER, for TLS.
    pub fn to_der(&self) -> Vec<u8> {
        self.0.serialize_der()
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key_raw().to_vec())
    }

    /// Hash of the public half.
    pub fn hash(&self) -> KeyHash {
        self.public().hash()
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.0
    }

    /// Signs a message.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.sign(message).map_err(crypto("sign with this node's key"))
    }
}

/// A public key, as the point on the curve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Takes bytes of another host for a public key; whether they are a point shows when a signature is
    /// verified.
    pub(crate) fn new(point: &[u8]) -> Option<PublicKey> {
        (point.len() == POINT && point[0] == 4).then(|| PublicKey(point.to_vec()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Hash of its `SubjectPublicKeyInfo`.
    pub fn hash(&self) -> KeyHash {
        sha256(&self.subject_public_key_info())
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0).verify(message, signature).is_ok()
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> KeyHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    KeyHash(hash)
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let fill = SystemRandom::new().fill(&mut bytes);
    fill.map_err(|_| Error::Crypto {
        attempted: "draw a random number",
        reason: "the system has none".into(),
    })?;
    Ok(bytes)
}

/// Hash of the public key in a certificate.
pub(crate) fn hash_of_certificate(der: &[u8]) -> Result<KeyHash, Error> {
    let certificate = rustls_pki_types::CertificateDer::from(der);
    let parsed = webpki::EndEntityCert::try_from(&certificate)
        .map_err(|cause| Error::Crypto { attempted: "read a certificate", reason: cause.to_string() })?;
    Ok(sha256(parsed.subject_public_key_info().as_ref()))
}
