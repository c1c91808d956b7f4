//! `[acme]`: whether certificates are obtained, and from whom.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a name is proven to be ours: RFC 8555 section 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Challenge {
    /// By an answer on the name's port 80, which `proxy.public.http` gives.
    #[serde(rename = "http-01")]
    Http01,
    /// By a record in the DNS, which `[[public_dns]]` shows. Wildcards know no other way.
    #[serde(rename = "dns-01")]
    Dns01,
}

/// `[acme]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// The authority's terms of service are agreed to. Without it none is asked for anything.
    pub terms_agreed: bool,
    /// Where the authority's directory stands.
    pub directory: String,
    /// Who is told when something is wrong with a certificate: `mailto:` addresses.
    pub contact: Vec<String>,
    /// Authorities in a PEM file that vouch for the directory's own server; the system's when absent.
    pub ca: Option<PathBuf>,
    /// How names are proven.
    pub challenge: Challenge,
    /// Names that get a certificate beside those of exposures with HTTPS.
    pub names: Vec<String>,
    /// How long to wait after the first failure; three times as long after each further one, up to half a day.
    #[serde(with = "state::units::duration")]
    pub retry: Duration,
    /// How long records in the DNS take to reach all servers of a zone.
    #[serde(with = "state::units::duration")]
    pub dns_wait: Duration,
}

impl Default for Acme {
    fn default() -> Acme {
        Acme {
            terms_agreed: false,
            directory: "https://acme-v02.api.letsencrypt.org/directory".into(),
            contact: Vec::new(),
            ca: None,
            challenge: Challenge::Http01,
            names: Vec::new(),
            retry: Duration::from_secs(60),
            dns_wait: Duration::from_secs(5),
        }
    }
}
