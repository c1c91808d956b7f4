//! Settings of TLS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use relay::tls::{CertificateFiles, ClientSettings};
use serde::{Deserialize, Serialize};

use crate::http::authority;

/// What becomes of connections that ask for a name. A name without a site of its own is HTTP, under the certificate
/// for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenSite")]
pub struct Site {
    /// Name that clients ask for (SNI), or `*.` and a suffix for one label before it.
    pub name: Arc<str>,
    /// Service that the bytes lead to. Absent: HTTP, which its own routes lead on.
    pub service: Option<Arc<str>>,
    /// Hand the connection to the service as it is: the service has the certificate.
    pub passthrough: bool,
    /// Authorities in a PEM file that vouch for clients. A client shows a certificate of theirs or is turned away.
    pub client_ca: Option<PathBuf>,
    /// Let clients in that show no certificate; one that shows a bad one is turned away all the same.
    pub client_optional: bool,
    /// Clients whose certificate has one URI `spiffe://<this>/…` are known by it to the rules. Others, and all
    /// where this is absent, are known by their address.
    pub client_domain: Option<Arc<str>>,
    /// Protocols offered (ALPN). Absent: `h2` and `http/1.1` for HTTP, none for a service.
    pub protocols: Option<Vec<String>>,
}

/// A site as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSite {
    name: Arc<str>,
    service: Option<Arc<str>>,
    #[serde(default)]
    passthrough: bool,
    client_ca: Option<PathBuf>,
    #[serde(default)]
    client_optional: bool,
    client_domain: Option<Arc<str>>,
    protocols: Option<Vec<String>>,
}

impl TryFrom<WrittenSite> for Site {
    type Error = String;

    fn try_from(written: WrittenSite) -> Result<Site, String> {
        let WrittenSite { name, service, passthrough, client_ca, client_optional, client_domain, protocols } =
            written;
        if authority::host(name.strip_prefix("*.").unwrap_or(&name)).is_none() {
            return Err(format!("\"{name}\" is neither a host name nor \"*.\" and the end of one"));
        }
        if passthrough && service.is_none() {
            return Err(format!("site \"{name}\" passes TLS through, so it needs the service that ends it"));
        }
        if passthrough && (client_ca.is_some() || protocols.is_some()) {
            return Err(format!(
                "site \"{name}\" passes TLS through: what clients must show and which protocols are offered is \
                 up to its service"
            ));
        }
        if client_ca.is_none() && (client_optional || client_domain.is_some()) {
            return Err(format!(
                "site \"{name}\" says something of clients' certificates and names no client_ca"
            ));
        }
        Ok(Site { name, service, passthrough, client_ca, client_optional, client_domain, protocols })
    }
}

/// A service that is reached by TLS, whatever its instances say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Service name.
    pub service: Arc<str>,
    /// Name that its certificates must have, also asked for (SNI). Unset: what is dialed.
    pub name: Option<String>,
    /// Authorities in a PEM file. Unset: the system's.
    pub ca: Option<PathBuf>,
    /// A certificate to show where one is asked for, with its chain.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

impl Upstream {
    pub(crate) fn settings(&self) -> ClientSettings {
        let Upstream { service: _, name, ca, certificate, key } = self.clone();
        ClientSettings { name, ca, certificate, key }
    }
}

/// Settings of TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Where to listen; nowhere when empty.
    pub listen: Vec<SocketAddr>,
    /// Certificates, found by their own names. The first is shown to clients that ask for nobody.
    pub certificates: Vec<CertificateFiles>,
    /// Names that are more than HTTP under a certificate.
    pub sites: Vec<Site>,
    /// Services that are reached by TLS.
    pub upstreams: Vec<Upstream>,
    /// Most handshakes at once.
    pub max_handshakes: usize,
    /// Longest time for a handshake.
    #[serde(with = "state::units::duration")]
    pub handshake_timeout: Duration,
}

impl Default for Tls {
    fn default() -> Self {
        Tls {
            listen: Vec::new(),
            certificates: Vec::new(),
            sites: Vec::new(),
            upstreams: Vec::new(),
            max_handshakes: 1024,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_that_contradicts_itself_is_an_error() {
        for (text, why) in [
            (r#"{"name": "a b"}"#, "neither a host name"),
            (r#"{"name": "a", "passthrough": true}"#, "needs the service"),
            (r#"{"name": "a", "passthrough": true, "service": "a", "client_ca": "/x"}"#, "up to its service"),
            (
                r#"{"name": "a", "passthrough": true, "service": "a", "protocols": ["h2"]}"#,
                "up to its service",
            ),
            (r#"{"name": "a", "client_domain": "x"}"#, "names no client_ca"),
            (r#"{"name": "a", "client_optional": true}"#, "names no client_ca"),
            (r#"{"name": "a", "sevice": "a"}"#, "unknown field"),
        ] {
            let said = serde_json::from_str::<Site>(text).unwrap_err().to_string();
            assert!(said.contains(why), "{text}: {said}");
        }
        let whole =
            r#"{"name": "*.a.example", "client_ca": "/x", "client_domain": "b", "client_optional": true}"#;
        serde_json::from_str::<Site>(whole).unwrap();
    }
}
