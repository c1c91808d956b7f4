//! Sites by the name that is asked for.

use std::collections::HashMap;
use std::sync::Arc;

use relay::tls::{Certificates, ClientAuthority, ServerConfig, Terms, TlsError, spiffe_id};
use route::Principal;

use super::config;

/// A site, ready for handshakes.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) name: Arc<str>,
    pub(crate) service: Option<Arc<str>>,
    /// How the handshake goes; `None` when the site's authorities could not be read: then nobody gets in.
    pub(crate) config: Option<Arc<ServerConfig>>,
    pub(crate) passthrough: bool,
    /// Clients must, or may, show certificates: what is behind the site is to be reached through it alone.
    pub(crate) guarded: bool,
    client_domain: Option<Arc<str>>,
}

impl Site {
    /// Who a client is by the certificate that it showed.
    pub(crate) fn principal(&self, chain: &[relay::tls::CertificateDer<'_>]) -> Option<Principal> {
        let (certificate, domain) = chain.first().zip(self.client_domain.as_deref())?;
        Some(Principal::Identity { id: spiffe_id(certificate, domain)?.into() })
    }
}

/// All sites. A whole state.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    exact: HashMap<Box<str>, Arc<Site>>,
    /// By what stands after `*.`.
    below: HashMap<Box<str>, Arc<Site>>,
    /// HTTP, for names without a site.
    usual: Option<Arc<Site>>,
    any_guarded: bool,
}

/// What HTTP is offered as.
const HTTP: [&str; 2] = ["h2", "http/1.1"];

impl Sites {
    /// Makes them from the configuration. The errors are those of sites that nobody gets into now.
    pub(crate) fn new(config: &config::Tls, certificates: &Arc<Certificates>) -> (Sites, Vec<TlsError>) {
        let mut errors = Vec::new();
        let mut sites = Sites::default();
        for written in &config.sites {
            let site = Arc::new(site(written, certificates, &mut errors));
            sites.any_guarded |= site.guarded;
            let name = written.name.trim_end_matches('.').to_ascii_lowercase();
            match name.strip_prefix("*.") {
                Some(suffix) => sites.below.insert(suffix.into(), site),
                None => sites.exact.insert(name.into(), site),
            };
        }
        let terms = Terms { protocols: HTTP.map(String::from).into(), clients: None };
        sites.usual = Some(Arc::new(Site {
            name: "".into(),
            service: None,
            config: terms.config(certificates).map_err(|error| errors.push(error)).ok(),
            passthrough: false,
            guarded: false,
            client_domain: None,
        }));
        (sites, errors)
    }

    /// The site for a name as it is asked for, in lower case.
    pub(crate) fn find(&self, name: Option<&str>) -> Option<&Arc<Site>> {
        name.and_then(|name| self.named(name)).or(self.usual.as_ref())
    }

    fn named(&self, name: &str) -> Option<&Arc<Site>> {
        self.exact.get(name).or_else(|| self.below.get(name.split_once('.')?.1))
    }

    /// True when a request for `host` must not come in by a connection to `by`: its site asks for certificates, and
    /// the connection's did not (RFC 9110 section 7.4).
    pub(crate) fn misdirects(&self, host: &str, by: Option<&Site>) -> bool {
        self.any_guarded
            && self
                .named(host)
                .is_some_and(|site| site.guarded && by.is_none_or(|by| !by.guarded || by.name != site.name))
    }
}

fn site(written: &config::Site, certificates: &Arc<Certificates>, errors: &mut Vec<TlsError>) -> Site {
    let usual = || match written.service {
        None => HTTP.map(String::from).into(),
        Some(_) => Vec::new(),
    };
    let terms = Terms {
        protocols: written.protocols.clone().unwrap_or_else(usual),
        clients: written.client_ca.as_ref().map(|authorities| ClientAuthority {
            authorities: authorities.clone(),
            required: !written.client_optional,
        }),
    };
    let config = (!written.passthrough).then(|| terms.config(certificates));
    Site {
        name: written.name.clone(),
        service: written.service.clone(),
        config: config.and_then(|config| config.map_err(|error| errors.push(error)).ok()),
        passthrough: written.passthrough,
        guarded: written.client_ca.is_some(),
        client_domain: written.client_domain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(text: &str) -> (Sites, Vec<TlsError>) {
        let config = config::Tls { sites: serde_json::from_str(text).unwrap(), ..config::Tls::default() };
        Sites::new(&config, &Certificates::new())
    }

    #[test]
    fn the_nearest_name_wins_and_others_are_plain_http() {
        let (sites, errors) = sites(
            r#"[{"name": "*.Example.org", "service": "all"}, {"name": "db.example.org", "service": "db"}]"#,
        );
        assert!(errors.is_empty());
        let service = |name| sites.find(name).unwrap().service.as_deref();
        assert_eq!(service(Some("db.example.org")), Some("db"));
        assert_eq!(service(Some("x.example.org")), Some("all"));
        for other in [Some("example.org"), Some("a.b.example.org"), None] {
            assert_eq!(service(other), None);
            assert!(sites.find(other).unwrap().config.is_some());
        }
    }

    #[test]
    fn a_site_without_its_authorities_lets_nobody_in() {
        let (sites, errors) = sites(r#"[{"name": "a.example", "client_ca": "/nowhere/ca.pem"}]"#);
        assert!(errors[0].to_string().contains("/nowhere/ca.pem"), "{errors:?}");
        assert!(sites.find(Some("a.example")).unwrap().config.is_none());
        let site = sites.find(Some("a.example")).cloned();
        assert!(sites.misdirects("a.example", None));
        assert!(sites.misdirects("a.example", sites.find(None).map(|site| &**site)));
        assert!(!sites.misdirects("a.example", site.as_deref()));
        assert!(!sites.misdirects("b.example", None));
    }
}
