//! TLS to an engine, where both sides show a certificate. The settings are those of Docker's own command:
//! `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription as Alert, CertificateError, ClientConfig, InconsistentKeys, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::engine::advice::{self, with_cure};

/// The name of an engine that speaks TLS, and the certificates of both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineTls {
    /// `host:port`
    pub(super) address: String,
    /// Name that the engine's certificate must be for.
    name: ServerName<'static>,
    /// Folder of `ca.pem`, `cert.pem` and `key.pem`.
    certs: PathBuf,
}

impl EngineTls {
    /// Checks the files by reading them once, so that their faults are reported when the daemon starts.
    pub(in crate::engine) fn new(address: String, name: &str, certs: PathBuf) -> Result<Self, String> {
        config(&certs)?;
        let name = ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no host name or address"))?;
        Ok(Self { address, name, certs })
    }

    /// Starts TLS on a stream. It reads the files again, which takes 1 ms, so that a renewed certificate is used.
    pub(in crate::engine) async fn handshake(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let certs = self.certs.clone();
        let config = tokio::task::spawn_blocking(move || config(&certs)).await?;
        let connector = TlsConnector::from(Arc::new(config.map_err(std::io::Error::other)?));
        connector.connect(self.name.clone(), stream).await
    }

    /// Returns the meaning and the cure of an error of TLS, or `None` for other errors. With TLS 1.3 the engine refuses
    /// our certificate only after the handshake.
    pub(super) fn explain(&self, error: &(dyn Error + 'static)) -> Option<String> {
        let certs = self.certs.display();
        Some(match tls_error(error)? {
            rustls::Error::InvalidMessage(_) => with_cure(&advice::NO_TLS, &[]),
            rustls::Error::InvalidCertificate(error) => match error {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    with_cure(&advice::UNKNOWN_AUTHORITY, &[&certs])
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    with_cure(&advice::OTHER_NAME, &[&self.name.to_str()])
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => with_cure(&advice::EXPIRED, &[]),
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    with_cure(&advice::NOT_YET_VALID, &[])
                }
                other => with_cure(&advice::BAD_CERTIFICATE, &[&other]),
            },
            rustls::Error::AlertReceived(
                alert @ (Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::DecryptError
                | Alert::CertificateRequired),
            ) => with_cure(&advice::OUR_CERTIFICATE, &[&certs, &format!("{alert:?}")]),
            error => format!("TLS: {error}"),
        })
    }
}

/// Finds the error of TLS in a chain of errors. An `io::Error` does not list the error that it holds among its
/// sources, so it is asked directly.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let held = error.downcast_ref::<std::io::Error>().and_then(|e| e.get_ref());
    let own = error.downcast_ref::<rustls::Error>();
    own.or_else(|| tls_error(held?)).or_else(|| tls_error(error.source()?))
}

fn config(certs: &Path) -> Result<ClientConfig, String> {
    let read = |name: &str| {
        let path = certs.join(name);
        let advice = "DOCKER_CERT_PATH names the folder of ca.pem, cert.pem and key.pem";
        let content = fs::read(&path).map_err(|e| format!("{} cannot be read ({e}): {advice}", path.display()))?;
        Ok::<_, String>((path, Zeroizing::new(content)))
    };
    let certificates = |name: &str| {
        let (path, content) = read(name)?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok((path, found)),
            _ => Err(format!("{} has no certificate: it must be a PEM file", path.display())),
        }
    };
    let mut authorities = RootCertStore::empty();
    let (path, found) = certificates("ca.pem")?;
    for certificate in found {
        authorities.add(certificate).map_err(|e| format!("{} has no usable authority: {e}", path.display()))?;
    }
    let (cert_path, chain) = certificates("cert.pem")?;
    let (path, content) = read("key.pem")?;
    let key = PrivateKeyDer::from_pem_slice(&content).map_err(|e| {
        let encrypted = content.windows(9).any(|word| word == b"ENCRYPTED");
        let why = match (encrypted, e) {
            (true, _) => "is encrypted: `openssl pkey` writes it without a passphrase".into(),
            (false, pem::Error::NoItemsFound) => "has no private key: it must be a PEM file".into(),
            (false, e) => format!("is damaged: {e}"),
        };
        format!("{} {why}", path.display())
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| format!("TLS cannot be used: {e}"))?.with_root_certificates(authorities);
    let mut config = builder.with_client_auth_cert(chain, key).map_err(|e| match e {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("{} is not the key of {}", path.display(), cert_path.display())
        }
        e => format!("{} and {} cannot be used: {e}", cert_path.display(), path.display()),
    })?;
    // A session is an upgrade of HTTP/1.1, which HTTP/2 does not have.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
