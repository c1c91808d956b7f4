//! Which addresses etcd is reached at, and what proves who is who.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::LogError;

/// Files by which etcd is believed, and believes this node. Read when the log is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Authorities that etcd's certificates are checked by, in PEM; the system's own when unset.
    pub ca: Option<PathBuf>,
    /// This node's certificate and what follows it, in PEM, where etcd asks for one.
    pub cert: Option<PathBuf>,
    /// The certificate's key, in PEM.
    pub key: Option<PathBuf>,
}

/// A name and a password, where etcd has its own authentication switched on.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// One address of etcd's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `host:port`.
    pub(super) authority: String,
    name: Option<ServerName<'static>>,
}

impl Endpoint {
    /// Of `http://host:port`, `https://host:port`, or `host:port`.
    fn parse(text: &str) -> Option<Self> {
        let bare = text.trim_end_matches('/');
        let (is_tls, authority) = match (bare.strip_prefix("http://"), bare.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => (false, bare),
        };
        let (host, port) = authority.rsplit_once(':')?;
        let is_good = !host.is_empty() && !authority.contains('/') && port.parse::<u16>().is_ok();
        let name = match is_tls {
            true => Some(ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()?),
            false => None,
        };
        is_good.then(|| Self { authority: authority.to_owned(), name })
    }
}

/// What every connection is made by.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) endpoints: Arc<[Endpoint]>,
    pub(super) login: Option<Login>,
    tls: Option<Arc<ClientConfig>>,
}

/// Bytes to and from etcd.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Access {
    /// Checks the addresses and reads the files.
    ///
    /// # Errors
    /// [`LogError::Settings`] with the address, [`LogError::Io`] with the file.
    pub(super) fn new(endpoints: &[String], files: &Files, login: Option<Login>) -> Result<Self, LogError> {
        let parse = |text: &String| {
            Endpoint::parse(text).ok_or_else(|| {
                settings(format!(
                    "etcd's endpoint `{text}` is not of the form https://host:port or http://host:port"
                ))
            })
        };
        let endpoints = endpoints.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(settings("no endpoint of etcd is given".to_owned()));
        }
        let is_tls = endpoints.iter().any(|endpoint| endpoint.name.is_some());
        if !is_tls && *files != Files::default() {
            let reason = "files for TLS are given, and no endpoint of etcd begins with https://".to_owned();
            return Err(settings(reason));
        }
        let tls = is_tls.then(|| client_config(files)).transpose()?.map(Arc::new);
        Ok(Self { endpoints: endpoints.into(), login, tls })
    }

    /// Connects to one endpoint; why not, in words.
    pub(super) async fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn Io>, String> {
        let stream = TcpStream::connect(&endpoint.authority).await.map_err(|cause| cause.to_string())?;
        stream.set_nodelay(true).map_err(|cause| cause.to_string())?;
        let (Some(name), Some(tls)) = (&endpoint.name, &self.tls) else { return Ok(Box::new(stream)) };
        let connected = TlsConnector::from(Arc::clone(tls)).connect(name.clone(), stream).await;
        connected.map(|stream| Box::new(stream) as Box<dyn Io>).map_err(|cause| format!("TLS: {cause}"))
    }
}

fn settings(reason: String) -> LogError {
    LogError::Settings { reason }
}

fn client_config(files: &Files) -> Result<ClientConfig, LogError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| settings(format!("prepare TLS to etcd: {cause}")))?
        .with_root_certificates(roots(files.ca.as_deref())?);
    let config = match (&files.cert, &files.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let unusable =
                |cause| settings(format!("use {} with {}: {cause}", cert.display(), key.display()));
            let chain = certificates("read the certificate for etcd", cert)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|cause| pem("read the key for etcd", key, cause))?;
            builder.with_client_auth_cert(chain, key).map_err(unusable)?
        }
        _ => {
            return Err(settings(
                "a certificate for etcd needs its key, and a key its certificate".to_owned(),
            ));
        }
    };
    Ok(config)
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, LogError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    for certificate in certificates("read the authorities of etcd", path)? {
        roots.add(certificate).map_err(|cause| settings(format!("believe {}: {cause}", path.display())))?;
    }
    Ok(roots)
}

fn certificates(attempted: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, LogError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|cause| pem(attempted, path, cause))?;
    match all.is_empty() {
        true => Err(settings(format!("{attempted} {}: it holds no certificate", path.display()))),
        false => Ok(all),
    }
}

fn pem(attempted: &'static str, path: &Path, cause: rustls::pki_types::pem::Error) -> LogError {
    LogError::io(attempted, path.display().to_string(), std::io::Error::other(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_hosts_and_ports() {
        let authority = |text| Endpoint::parse(text).map(|endpoint| endpoint.authority);
        assert_eq!(authority("http://10.0.0.1:2379/").as_deref(), Some("10.0.0.1:2379"));
        assert_eq!(authority("etcd-1:2379").as_deref(), Some("etcd-1:2379"));
        assert_eq!(authority("https://[::1]:2379").as_deref(), Some("[::1]:2379"));
        for wrong in ["", "localhost", "ftp://h:1", "http://h:port", "http://h:1/path", ":2379"] {
            assert_eq!(authority(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn files_that_make_no_sense_are_named() {
        let said = |endpoint: &str, files: Files| {
            crate::error_chain(
                &Access::new(&[endpoint.to_owned()], &files, None).err().expect("it is refused"),
            )
        };
        let file = |name: &str| Some(PathBuf::from(name));
        let ca = Files { ca: file("/no/such/ca.pem"), ..Files::default() };
        assert!(said("https://h:1", ca.clone()).contains("/no/such/ca.pem"));
        assert!(said("http://h:1", ca).contains("begins with https://"));
        let half = Files { cert: file("/x"), ..Files::default() };
        assert!(said("https://h:1", half).contains("needs its key"));
    }
}
