//! The account's key: ECDSA on P-256, and JSON as it signs it (RFC 7515, RFC 7518 section 3.4).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::{AcmeError, crypto};

/// How ACME writes bytes.
pub(super) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Who we are to an authority.
pub(super) struct AccountKey {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
    random: SystemRandom,
}

impl AccountKey {
    /// A new one.
    pub(super) fn generate() -> Result<AccountKey, AcmeError> {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let made = made.map_err(|why| crypto("make the account's key", why))?;
        AccountKey::from_pkcs8(made.as_ref())
    }

    /// One that was kept.
    pub(super) fn from_pkcs8(pkcs8: &[u8]) -> Result<AccountKey, AcmeError> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random);
        let pair = pair.map_err(|why| crypto("read the account's key", why))?;
        Ok(AccountKey { pair, pkcs8: pkcs8.to_vec(), random })
    }

    /// To be kept.
    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half, RFC 7517, its members in the order that RFC 7638 wants.
    pub(super) fn jwk(&self) -> Value {
        // SEC 1: 4, then both coordinates.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
        json!({ "crv": "P-256", "kty": "EC", "x": base64url(x), "y": base64url(y) })
    }

    /// What stands behind a challenge's token: RFC 8555 section 8.1.
    pub(super) fn authorization(&self, token: &str) -> String {
        // serde_json's maps are sorted, and it writes no spaces: RFC 7638 section 3.
        let thumbprint = digest(&SHA256, self.jwk().to_string().as_bytes());
        format!("{token}.{}", base64url(thumbprint.as_ref()))
    }

    /// A signed request: the "flattened" form of RFC 7515 section 7.2.2. Without a payload it is POST-as-GET.
    pub(super) fn sign(&self, protected: &Value, payload: Option<&Value>) -> Result<String, AcmeError> {
        let protected = base64url(protected.to_string().as_bytes());
        let payload = payload.map(|payload| base64url(payload.to_string().as_bytes())).unwrap_or_default();
        let signed = self.pair.sign(&self.random, format!("{protected}.{payload}").as_bytes());
        let signature = signed.map_err(|why| crypto("sign a request", why))?;
        let body =
            json!({ "protected": protected, "payload": payload, "signature": base64url(signature.as_ref()) });
        Ok(body.to_string())
    }
}

/// What stands in the DNS for an authorization: RFC 8555 section 8.4.
pub(super) fn dns_value(authorization: &str) -> String {
    base64url(digest(&SHA256, authorization.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn what_is_signed_verifies_and_a_kept_key_is_the_same() {
        let key = AccountKey::generate().unwrap();
        let body = key.sign(&json!({"alg": "ES256"}), Some(&json!({"a": 1}))).unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        let part = |name: &str| body[name].as_str().unwrap().to_owned();
        let signed = format!("{}.{}", part("protected"), part("payload"));
        let public =
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key().as_ref().to_vec());
        let signature = URL_SAFE_NO_PAD.decode(part("signature")).unwrap();
        public.verify(signed.as_bytes(), &signature).unwrap();
        let again = AccountKey::from_pkcs8(key.pkcs8()).unwrap();
        assert_eq!(again.authorization("t"), key.authorization("t"));
        let jwk = key.jwk().to_string();
        assert!(jwk.starts_with(r#"{"crv":"P-256","kty":"EC","x":""#), "{jwk}");
    }
}
