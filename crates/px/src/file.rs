//! Certificates that a px file names.

use std::path::{Path, PathBuf};

use mesh::{Naming, Trust, TrustError};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Config;

/// A file of certificates or keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read, or is not PEM.
    #[error("read {what} in {path}: {cause}")]
    Read {
        /// What was wanted of it.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        cause: pem::Error,
    },
    /// It has none.
    #[error("{path} has no certificate in it")]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// They do not belong together, or are for another name.
    #[error("use the certificate in {path}")]
    Trust {
        /// The certificate's.
        path: PathBuf,
        /// What is wrong.
        #[source]
        cause: TrustError,
    },
}

/// Own certificate, key and roots of a px node. Names are the DNS names in certificates.
///
/// # Errors
/// [`LoadError`].
pub fn load_trust(config: &Config) -> Result<Trust, LoadError> {
    let chain = certificates("the certificate", &config.cert_path)?;
    let roots = certificates("the roots", &config.ca_cert_path)?;
    let key = PrivateKeyDer::from_pem_file(&config.key_path).map_err(|cause| LoadError::Read {
        what: "the private key",
        path: config.key_path.clone(),
        cause,
    })?;
    Trust::new(Naming::Dns, chain, &key, &roots)
        .and_then(|trust| trust.named(&config.id))
        .map_err(|cause| LoadError::Trust { path: config.cert_path.clone(), cause })
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let failed = |cause| LoadError::Read { what, path: path.to_owned(), cause };
    let all = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let all = all.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if all.is_empty() {
        return Err(LoadError::Empty { path: path.to_owned() });
    }
    Ok(all)
}
