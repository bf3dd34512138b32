//! TLS to an engine, as `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` of Docker's own command have it: both sides show a
//! certificate.

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

/// An engine's name, and what we and it prove ourselves with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// `host:port`
    pub(super) address: String,
    /// What the engine's certificate must be for.
    name: ServerName<'static>,
    /// Folder of `ca.pem`, `cert.pem` and `key.pem`.
    certs: PathBuf,
}

impl Tls {
    /// Reads the files once, so that what is wrong with them is said at the start.
    pub(in crate::engine) fn new(address: String, name: &str, certs: PathBuf) -> Result<Self, String> {
        config(&certs)?;
        let name = ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no host name or address"))?;
        Ok(Self { address, name, certs })
    }

    /// The files are read anew (1 ms), so that a renewed certificate is used.
    pub(in crate::engine) async fn handshake(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let certs = self.certs.clone();
        let config = tokio::task::spawn_blocking(move || config(&certs)).await?;
        let connector = TlsConnector::from(Arc::new(config.map_err(std::io::Error::other)?));
        connector.connect(self.name.clone(), stream).await
    }

    /// What an error of the connection means, and what to do; none if it is not TLS's. With TLS 1.3 our certificate
    /// is refused only after the handshake.
    pub(super) fn explain(&self, error: &(dyn Error + 'static)) -> Option<String> {
        let certs = self.certs.display();
        Some(match tls_error(error)? {
            rustls::Error::InvalidMessage(_) => {
                "it does not speak TLS: start it with --tlsverify, or, on this machine alone, unset DOCKER_TLS_VERIFY"
                    .into()
            }
            rustls::Error::InvalidCertificate(why) => match why {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    format!("its certificate is not signed by {certs}/ca.pem: put the engine's own authority there")
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
                    "its certificate is not for {}: DOCKER_HOST must have a name or an address of the certificate's \
                     subjectAltName",
                    self.name.to_str()
                ),
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "its certificate has expired: renew it".into()
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "its certificate is not valid yet: compare the clocks of both machines".into()
                }
                why => format!("its certificate cannot be used ({why}): make another one"),
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
            ) => format!(
                "it refuses {certs}/cert.pem ({alert:?}): the certificate must be for client authentication, not \
                 expired, and signed by the authority in the engine's --tlscacert"
            ),
            error => format!("TLS: {error}"),
        })
    }
}

/// An `io::Error` is no source of what it holds, so it is asked for it.
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
    // A session is an upgrade, which HTTP/2 has not.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
