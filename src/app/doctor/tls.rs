use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error};

use super::Finding;
use crate::app::certificate;
use crate::http::ServerCertificate;
use crate::settings::Settings;

pub const NAME: &str = "tls";

/// Time before a certificate's end from which on it should have been renewed.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Checks the listener's certificate: its files, its dates, and whether it is for the host of BASE_URL. Finds nothing if the
/// daemon speaks no TLS.
pub async fn check(settings: Arc<Settings>) -> Vec<Finding> {
    let certificate = match certificate::read(&settings) {
        Ok(Some(certificate)) => certificate,
        Ok(None) => return Vec::new(),
        Err(error) => return vec![Finding::bad(NAME, format!("{error:#}"))],
    };
    let found = tokio::task::spawn_blocking(move || judge(&settings, &certificate)).await;
    vec![found.unwrap_or_else(|error| Finding::bad(NAME, format!("the certificate cannot be checked: {error}")))]
}

fn judge(settings: &Settings, certificate: &ServerCertificate) -> Finding {
    let chain = certificate.chain();
    let host = settings.base_url.0.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let public = rustls_native_certs::load_native_certs().certs;
    // The certificates of the file count as authorities for the second look, which is about the dates and the name alone.
    let is_public = verify(&chain, public.iter(), &host, Duration::ZERO).is_ok();
    let both = || public.iter().chain(&chain);
    match verify(&chain, both(), &host, Duration::ZERO) {
        Err(CertificateFault::Ended) => {
            return Finding::bad(NAME, "the certificate has ended, or begins later: renew it");
        }
        Err(CertificateFault::Name) => {
            let why = format!("the certificate is not for {host}: get one that is, or correct BASE_URL");
            return Finding::warn(NAME, why);
        }
        Err(CertificateFault::Other(why)) => {
            return Finding::warn(
                NAME,
                format!("clients may refuse the certificate ({why}): make it as docs/tls.md does"),
            );
        }
        Ok(()) => {}
    }
    match verify(&chain, both(), &host, SOON) {
        Err(_) => Finding::warn(NAME, format!("the certificate for {host} ends within 14 days: renew it")),
        Ok(()) if is_public => Finding::ok(NAME, format!("the certificate is for {host}")),
        Ok(()) => {
            let who = "no authority of this machine signed it, so clients need its file (IMAGE_FACTORY_CACERT)";
            Finding::ok(NAME, format!("the certificate is for {host}; {who}"))
        }
    }
}

enum CertificateFault {
    /// It has ended by then, or has not begun.
    Ended,
    /// It is for other names.
    Name,
    Other(Error),
}

/// Verifies the certificate as a client does that trusts these authorities, at a time from now on.
fn verify<'a>(
    chain: &[CertificateDer<'static>],
    authorities: impl Iterator<Item = &'a CertificateDer<'static>>,
    host: &str,
    later: Duration,
) -> Result<(), CertificateFault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.cloned());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()));
    let verifier = verifier.build().map_err(|error| CertificateFault::Other(Error::General(error.to_string())))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| CertificateFault::Name)?;
    let [own, between @ ..] = chain else { return Err(CertificateFault::Other(Error::NoCertificatesPresented)) };
    let then = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + later);
    match verifier.verify_server_cert(own, between, &name, &[], then) {
        Ok(_) => Ok(()),
        Err(Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        )) => Err(CertificateFault::Ended),
        Err(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => Err(CertificateFault::Name),
        Err(error) => Err(CertificateFault::Other(error)),
    }
}
