use std::path::Path;

use etcd_client::TlsOptions;
use reqwest::tls::Version;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::super::SecretsError;
use super::config::TlsFiles;

/// Contents of the [`TlsFiles`], checked.
#[derive(Clone, Default)]
pub struct EtcdTls {
    cacert: Option<Vec<u8>>,
    /// Certificates and key.
    identity: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    at_most_1_2: bool,
}

impl EtcdTls {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// The file that cannot be used, and its fault.
    pub fn read(files: &TlsFiles) -> Result<Self, SecretsError> {
        let cacert = files.cacert.as_ref().map(|path| authorities(path)).transpose()?;
        let identity = files.identity.as_ref().map(|(cert, key)| identity(cert, key)).transpose()?;
        Ok(Self { cacert, identity, at_most_1_2: false })
    }

    /// Returns the same for HTTP without TLS 1.3.
    pub fn at_most_1_2(&self) -> Self {
        Self { at_most_1_2: true, ..self.clone() }
    }

    /// Returns the options of a gRPC client.
    pub fn options(&self) -> TlsOptions {
        let options = match &self.cacert {
            Some(pem) => TlsOptions::new().ca_certificate(etcd_client::Certificate::from_pem(pem)),
            None => TlsOptions::new().with_native_roots(),
        };
        match &self.identity {
            Some((cert, key)) => options.identity(etcd_client::Identity::from_pem(cert, key.as_slice())),
            None => options,
        }
    }

    /// Builds an HTTP client.
    pub fn client(&self, builder: reqwest::ClientBuilder) -> reqwest::Result<reqwest::Client> {
        let builder = match &self.cacert {
            Some(pem) => builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem)?),
            None => builder,
        };
        let builder = if self.at_most_1_2 { builder.tls_version_max(Version::TLS_1_2) } else { builder };
        match &self.identity {
            Some((cert, key)) => {
                let both = Zeroizing::new([cert.as_slice(), b"\n", key].concat());
                builder.identity(reqwest::Identity::from_pem(&both)?).build()
            }
            None => builder.build(),
        }
    }
}

fn authorities(path: &Path) -> Result<Vec<u8>, SecretsError> {
    let pem = read("ETCD_CACERT", path)?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ETCD_CACERT", path, &pem)? {
        roots.add(certificate).map_err(|e| wrong("ETCD_CACERT", path, &e.to_string()))?;
    }
    Ok(pem.to_vec())
}

fn identity(cert: &Path, key: &Path) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), SecretsError> {
    let (cert_pem, key_pem) = (read("ETCD_CERT", cert)?, read("ETCD_KEY", key)?);
    let chain = certificates("ETCD_CERT", cert, &cert_pem)?;
    let no_key = "it has no private key in PEM form, or an encrypted one: etcd's clients take none that is encrypted";
    let parsed = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| wrong("ETCD_KEY", key, no_key))?;
    match CertifiedKey::from_der(chain, parsed, &ring::default_provider()) {
        Ok(_) => Ok((cert_pem.to_vec(), key_pem)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(wrong("ETCD_KEY", key, &format!("it is not the key of ETCD_CERT={}", cert.display())))
        }
        Err(e) => Err(wrong("ETCD_KEY", key, &e.to_string())),
    }
}

fn certificates(name: &str, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SecretsError> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(wrong(name, path, "it has no certificate in PEM form")),
    }
}

fn read(name: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
    match std::fs::read(path) {
        Ok(pem) => Ok(pem.into()),
        Err(e) => Err(wrong(name, path, &format!("it cannot be read: {e}"))),
    }
}

fn wrong(name: &str, path: &Path, what: &str) -> SecretsError {
    SecretsError(format!("{name}={}: {what}", path.display()))
}
