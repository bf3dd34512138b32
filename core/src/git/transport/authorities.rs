//! The certificate authorities of a private server (GIT_CACERT). Git takes one file of authorities instead of the
//! system's, so we give it a file with both, because GitHub must stay trusted.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::access::GitAccess;
use crate::durable::replace_file;
use crate::git::{GitConfig, GitError};

/// Reads the certificates of a PEM file, of which there must be at least one.
///
/// # Errors
/// The message says what is wrong with the file, and what to do.
pub fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, GitError> {
    let wrong = |why: String| GitError::refused(format!("GIT_CACERT={path:?} cannot be used: {why}"));
    let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| wrong(format!("it is not PEM ({error})")))?;
    match certificates.is_empty() {
        true => Err(wrong("it has no certificate in it: give a PEM file with the authority's".into())),
        false => Ok(certificates),
    }
}

impl GitConfig {
    /// Returns the access with a file of authorities that has the system's, too.
    pub(in crate::git) fn bundled(&self, access: &GitAccess) -> Result<GitAccess, GitError> {
        let cacert = access.cacert().map(|cacert| bundle(&cacert, &self.run_dir)).transpose()?;
        Ok(GitAccess::new(access.token(), cacert).with_tarballs(access.tarballs()))
    }
}

/// Writes the system's authorities and those of `path` to a file in `dir`, and returns its path.
fn bundle(path: &Path, dir: &Path) -> Result<PathBuf, GitError> {
    // The authorities of GIT_CACERT count even if the system has none, or some that cannot be read.
    let system = rustls_native_certs::load_native_certs().certs;
    let mut pem = String::with_capacity(system.len() * 2048);
    for certificate in read(path)?.iter().chain(&system) {
        pem += "-----BEGIN CERTIFICATE-----\n";
        for line in BASE64_STANDARD.encode(certificate).as_bytes().chunks(64) {
            let _ = writeln!(pem, "{}", String::from_utf8_lossy(line));
        }
        pem += "-----END CERTIFICATE-----\n";
    }
    let bundle = dir.join("authorities.pem");
    // Git may read the file of before at this moment.
    let written = replace_file(&bundle, 0o600, pem.as_bytes());
    written.map_err(|error| GitError::io(format_args!("{}", bundle.display()), error))?;
    Ok(bundle)
}
