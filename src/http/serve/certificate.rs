//! The certificate that the daemon shows, which is read again while it runs.

use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use zeroize::Zeroizing;

/// The certificate and the key of the listener.
pub struct ServerCertificate {
    cert: PathBuf,
    key: PathBuf,
    present: RwLock<Arc<CertifiedKey>>,
}

/// The state of the two files: device, inode, size and time of the last change of each; `None` for a missing file.
pub type FilesState = [Option<(u64, u64, u64, i64, i64)>; 2];

impl ServerCertificate {
    /// Reads a certificate, with those between it and its authority, and its key. They may be in one file.
    ///
    /// # Errors
    /// The file that cannot be used, why, and what to do.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, String> {
        let present = RwLock::new(Arc::new(read(cert, key)?));
        Ok(Self { cert: cert.into(), key: key.into(), present })
    }

    /// Reads the files again. Connections from now on get what is there. Returns true if it is another certificate.
    ///
    /// # Errors
    /// Those of [`Self::read`]. The former certificate stays then.
    pub fn reload(&self) -> Result<bool, String> {
        let new = Arc::new(read(&self.cert, &self.key)?);
        let mut present = self.present.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = present.cert != new.cert;
        *present = new;
        Ok(is_new)
    }

    /// Returns the state of the files, which changes when they are replaced. A link counts as the file that it leads to.
    pub fn files(&self) -> FilesState {
        let state = |file: Metadata| (file.dev(), file.ino(), file.size(), file.ctime(), file.ctime_nsec());
        [&self.cert, &self.key].map(|path| fs::metadata(path).ok().map(state))
    }

    /// Returns the certificates, the daemon's own first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.present().cert.clone()
    }

    /// Returns the settings of a server that shows the certificate.
    ///
    /// # Errors
    /// TLS cannot be used at all.
    pub fn config(self: Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(self);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn present(&self) -> Arc<CertifiedKey> {
        self.present.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.present())
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate").field("cert", &self.cert).field("key", &self.key).finish_non_exhaustive()
    }
}

fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, String> {
    let content = |path: &Path| {
        let content = fs::read(path).map(Zeroizing::new);
        content.map_err(|error| format!("{} cannot be read ({error}): it must be a PEM file", path.display()))
    };
    let (cert_pem, key_pem) = (content(cert)?, content(key)?);
    let (cert, key) = (cert.display(), key.display());
    let chain = CertificateDer::pem_slice_iter(&cert_pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| format!("{cert} is damaged: {error}"))?;
    if chain.is_empty() {
        return Err(format!("{cert} has no certificate: put it there in PEM form"));
    }
    if key_pem.windows(9).any(|word| word == b"ENCRYPTED") {
        return Err(format!("{key} has an encrypted key: `openssl pkey` writes it without a passphrase"));
    }
    let keys = PrivateKeyDer::pem_slice_iter(&key_pem).collect::<Result<Vec<_>, _>>();
    let mut keys = keys.map_err(|error| format!("{key} is damaged: {error}"))?;
    let private = match (keys.pop(), keys.len()) {
        (Some(private), 0) => private,
        (None, _) => return Err(format!("{key} has no private key: put it there in PEM form")),
        (_, more) => return Err(format!("{key} has {} private keys: keep that of the certificate", more + 1)),
    };
    let private = ring::default_provider().key_provider.load_private_key(private);
    let private = private.map_err(|error| format!("{key} has a key that cannot be used: {error}"))?;
    let is_of = |chain: &[CertificateDer<'static>]| CertifiedKey::new(chain.to_vec(), private.clone()).keys_match();
    match is_of(&chain) {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            let is_later = (1..chain.len()).any(|place| is_of(&chain[place..]).is_ok());
            return Err(match is_later {
                true => format!("{cert} has several certificates, and that of the key is not the first: move it there"),
                false => format!("{key} is not the key of {cert}: name two files that belong together"),
            });
        }
        Err(error) => return Err(format!("{cert} cannot be used: {error}")),
    }
    Ok(CertifiedKey::new(chain, private))
}
