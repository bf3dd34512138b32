//! Trust in certificates that are named one by one.

use std::sync::Arc;

use reqwest::ClientBuilder;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;

/// Makes a client trust the certificates of a PEM file, beside the system's authorities. A server that shows one of them is
/// trusted under every name, because it has that certificate's key; and so is one whose certificate one of them has signed,
/// under the names of its certificate.
///
/// # Errors
/// The reason why the file cannot be used, to follow its name.
pub fn trust_certificates(client: ClientBuilder, pem: &[u8]) -> Result<ClientBuilder, String> {
    let named = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let named = named.map_err(|error| format!("is damaged: {error}"))?;
    if named.is_empty() {
        return Err("has no certificate in PEM form".into());
    }
    let verifier = NamedCertificates::new(named).map_err(|error| format!("has an unusable certificate: {error}"))?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let config = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    Ok(client.tls_backend_preconfigured(config))
}

#[derive(Debug)]
struct NamedCertificates {
    named: Vec<CertificateDer<'static>>,
    /// The verifier of every other certificate.
    others: Verifier,
}

impl NamedCertificates {
    fn new(named: Vec<CertificateDer<'static>>) -> Result<Self, Error> {
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        Ok(Self { others: Verifier::new_with_extra_roots(named.clone(), provider)?, named })
    }
}

impl ServerCertVerifier for NamedCertificates {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.named.iter().any(|named| named.as_ref() == certificate.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        self.others.verify_server_cert(certificate, others, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.others.supported_verify_schemes()
    }
}
