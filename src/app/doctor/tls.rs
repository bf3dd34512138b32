use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
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
    match verify(&chain, Duration::ZERO) {
        Err(error) if is_over(&error) => Finding::bad(NAME, "the certificate has ended, or begins later: renew it"),
        _ if !is_for(&chain, &host) => {
            let why = format!("the certificate is not for {host}: get one that is, or correct BASE_URL");
            Finding::warn(NAME, why)
        }
        _ if verify(&chain, SOON).is_err_and(|error| is_over(&error)) => {
            Finding::warn(NAME, format!("the certificate for {host} ends within 14 days: renew it"))
        }
        Ok(()) => Finding::ok(NAME, format!("the certificate is for {host}")),
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            let who = "no authority of this machine signed it, so clients need its file (IMAGE_FACTORY_CACERT)";
            Finding::ok(NAME, format!("the certificate is for {host}; {who}"))
        }
        Err(why) => {
            Finding::warn(NAME, format!("clients may refuse the certificate ({why}): make it as docs/tls.md does"))
        }
    }
}

/// True if the certificate has ended, or has not begun.
fn is_over(error: &Error) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    let Error::InvalidCertificate(error) = error else { return false };
    matches!(error, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
}

/// True if the first certificate names the host.
fn is_for(chain: &[CertificateDer<'static>], host: &str) -> bool {
    let name = ServerName::try_from(host).ok();
    let certificate = chain.first().and_then(|own| ParsedCertificate::try_from(own).ok());
    certificate.zip(name).is_some_and(|(certificate, name)| verify_server_name(&certificate, &name).is_ok())
}

/// Verifies the certificate, whatever its name, as a client on this machine does, at a time from now on. The dates are looked
/// at before the authority.
fn verify(chain: &[CertificateDer<'static>], later: Duration) -> Result<(), Error> {
    let [own, between @ ..] = chain else { return Err(Error::NoCertificatesPresented) };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let then = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + later);
    let algorithms = ring::default_provider().signature_verification_algorithms;
    verify_server_cert_signed_by_trust_anchor(&ParsedCertificate::try_from(own)?, &roots, between, then, algorithms.all)
}
