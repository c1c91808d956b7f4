//! From a name to a certificate: order, prove, ask for the signature, fetch (RFC 8555 section 7.4).

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::key::{base64url, dns_value};
use super::talk::{Talk, problem, text};
use super::{AcmeError, Challenge, crypto};

/// Longest that an authority may take over one step.
const STEP: Duration = Duration::from_secs(90);
/// Between two looks where it does not say when, and the longest that it may say.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_MOST: Duration = Duration::from_secs(15);

/// A certificate with its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
}

/// What is to be shown for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof {
    /// The name without an asterisk.
    pub(super) name: String,
    /// Last part of the path where it is looked for over HTTP.
    pub(super) token: String,
    /// What is to be found there.
    pub(super) authorization: String,
    /// What is to be found in the DNS.
    pub(super) dns: String,
}

/// Who shows proofs.
pub(super) trait Show {
    async fn show(&self, proof: &Proof) -> Result<(), AcmeError>;
    async fn hide(&self, proof: &Proof);
}

/// Obtains a certificate for one name.
pub(super) async fn obtain<S: Show>(
    talk: &mut Talk,
    name: &str,
    way: Challenge,
    show: &S,
) -> Result<Issued, AcmeError> {
    let (url, order) = talk.order(name).await?;
    let asked = order["authorizations"].as_array().cloned().unwrap_or_default();
    for authorization in asked.iter().filter_map(Value::as_str) {
        authorize(talk, authorization, way, show).await?;
    }
    let key = rcgen::KeyPair::generate().map_err(|why| crypto("make a key", why))?;
    let request = request(name, &key)?;
    let finalize = text(&order, "finalize")?;
    talk.post(&finalize, Some(&json!({ "csr": base64url(&request) }))).await?;
    let order = settled(talk, &url, &["pending", "ready", "processing"]).await?;
    if order["status"] != "valid" {
        let (said, kind) = problem(&order["error"]);
        return Err(AcmeError::Refused { said, kind, after: None });
    }
    let certificate = talk.post(&text(&order, "certificate")?, None).await?;
    let chain = String::from_utf8(certificate.body.to_vec()).map_err(|_| AcmeError::Odd("certificate"))?;
    Ok(Issued { chain, key: key.serialize_pem() })
}

/// Proves one name: section 7.5.
async fn authorize<S: Show>(talk: &mut Talk, url: &str, way: Challenge, show: &S) -> Result<(), AcmeError> {
    let said = talk.post(url, None).await?.json()?;
    if said["status"] == "valid" {
        // Proven not long ago.
        return Ok(());
    }
    let name = said["identifier"]["value"].as_str().unwrap_or_default().to_owned();
    let wanted = match way {
        Challenge::Http01 => "http-01",
        Challenge::Dns01 => "dns-01",
    };
    let offered = said["challenges"].as_array().into_iter().flatten();
    let challenge = offered.into_iter().find(|challenge| challenge["type"] == wanted);
    let challenge = challenge.ok_or_else(|| AcmeError::Way { wanted, name: name.clone() })?;
    let token = text(challenge, "token")?;
    if !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err(AcmeError::Odd("token of base64url"));
    }
    let authorization = talk.authorization(&token);
    let proof = Proof { name, token, dns: dns_value(&authorization), authorization };
    show.show(&proof).await?;
    let proven = prove(talk, url, &text(challenge, "url")?, &proof).await;
    show.hide(&proof).await;
    proven
}

async fn prove(talk: &mut Talk, url: &str, challenge: &str, proof: &Proof) -> Result<(), AcmeError> {
    talk.post(challenge, Some(&json!({}))).await?;
    let said = settled(talk, url, &["pending"]).await?;
    if said["status"] == "valid" {
        return Ok(());
    }
    let failed = said["challenges"].as_array().into_iter().flatten().find(|one| one["error"].is_object());
    let (said, _) = problem(failed.map_or(&Value::Null, |challenge| &challenge["error"]));
    Err(AcmeError::Unproven { name: proof.name.clone(), said })
}

/// Looks until it is in none of these states.
async fn settled(talk: &mut Talk, url: &str, unsettled: &[&str]) -> Result<Value, AcmeError> {
    let until = Instant::now() + STEP;
    loop {
        let reply = talk.post(url, None).await?;
        let said = reply.json()?;
        if !unsettled.iter().any(|state| said["status"] == *state) {
            return Ok(said);
        }
        if Instant::now() >= until {
            return Err(AcmeError::Slow(STEP.as_secs()));
        }
        sleep(reply.after.unwrap_or(LOOK).clamp(LOOK / 4, LOOK_MOST)).await;
    }
}

/// A request for a signature: RFC 2986, with the name as the only subject.
fn request(name: &str, key: &rcgen::KeyPair) -> Result<Vec<u8>, AcmeError> {
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]);
    let mut params = params.map_err(|why| crypto("write a request for a certificate", why))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let made =
        params.serialize_request(key).map_err(|why| crypto("write a request for a certificate", why))?;
    Ok(made.der().to_vec())
}
