//! Who a client's certificate says that it is.

use rustls::pki_types::CertificateDer;

/// The SPIFFE id in a certificate that lies in `domain`, if it is the only URI there. Says nothing of who signed it:
/// whoever calls this has verified the chain, and `domain` must be one that its authorities may speak for.
pub fn spiffe_id(certificate: &CertificateDer<'_>, domain: &str) -> Option<String> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut uris = parsed.valid_uri_names();
    match (uris.next(), uris.next()) {
        (Some(uri), None) if is_in(uri, domain) => Some(uri.to_owned()),
        _ => None,
    }
}

/// The host names in a certificate, in lower case. Says nothing of who signed it.
pub fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let parsed = webpki::EndEntityCert::try_from(certificate);
    parsed.map(|parsed| parsed.valid_dns_names().map(str::to_ascii_lowercase).collect()).unwrap_or_default()
}

/// `spiffe://<domain>/` and segments of plain characters (SPIFFE-ID sections 2.1 and 2.2).
fn is_in(uri: &str, domain: &str) -> bool {
    let path = uri
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.strip_prefix(domain))
        .and_then(|rest| rest.strip_prefix('/'));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    path.is_some_and(|path| {
        uri.len() <= 2048
            && path
                .split('/')
                .all(|segment| !matches!(segment, "" | "." | "..") && segment.bytes().all(plain))
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(uris: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["mail.example".to_owned()]).unwrap();
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn exactly_one_and_of_the_domain() {
        let id = |uris: &[&str]| spiffe_id(&certificate(uris), "partner.example");
        assert_eq!(
            id(&["spiffe://partner.example/shop/web"]).as_deref(),
            Some("spiffe://partner.example/shop/web")
        );
        for uris in [
            &[][..],
            &["spiffe://partner.example/a", "spiffe://partner.example/b"],
            &["spiffe://partner.example.evil/a"],
            &["spiffe://other.example/a"],
            &["spiffe://partner.example/"],
            &["spiffe://partner.example/a/../b"],
            &["spiffe://partner.example/a%2fb"],
            &["https://partner.example/a"],
        ] {
            assert_eq!(id(uris), None, "{uris:?}");
        }
    }
}
