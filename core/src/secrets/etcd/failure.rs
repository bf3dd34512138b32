use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

use super::config::EtcdConfig;
use crate::outbound::causes;

/// The reason why an endpoint could not be used.
#[derive(Debug)]
pub struct EtcdFailure {
    pub why: String,
    /// The move of the operator, where it is known.
    pub todo: Option<String>,
    /// True if the API answered that this user may not read it.
    pub refused: bool,
}

impl EtcdFailure {
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), todo: None, refused: false }
    }

    pub fn todo(why: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { todo: Some(todo.into()), ..Self::new(why) }
    }

    /// Returns the failure of a connection. The last error in the chain of causes is the reason.
    pub fn of(error: &(dyn Error + 'static), config: &EtcdConfig) -> Self {
        let mut failure = Self::new("");
        for cause in causes(error) {
            failure.why = cause.to_string();
            failure.todo = failure.todo.or_else(|| advice(cause, config));
        }
        failure
    }

    /// Returns the failure for an etcd that asks for a user while none is set.
    pub fn anonymous(why: impl Into<String>) -> Self {
        Self::todo(why, "it asks for a user: set ETCD_USER and ETCD_PASSWORD")
    }
}

/// Returns the move for a user whose role does not cover the secrets.
pub fn role(config: &EtcdConfig) -> String {
    let prefix = config.prefix();
    format!(
        "give the user a role that may read, and for `secrets put` write, what is below {prefix} \
         (v3: etcdctl role grant-permission ROLE readwrite {prefix} --prefix=true; v2: {prefix}*)"
    )
}

pub const IS_IT_THERE: &str = "is it running, and are ETCD_HOST and ETCD_PORT, or ETCD_ENDPOINTS, right?";
pub const NO_TLS: &str = "is it running, and does it speak TLS there (else write http://, and leave out ETCD_CACERT, ETCD_CERT and ETCD_KEY)?";

/// TLS alerts by which etcd refuses our certificate, or the lack of one. The alert depends on the version of Go.
const ALERTS: [AlertDescription; 5] = [
    AlertDescription::BadCertificate,
    AlertDescription::CertificateRequired,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
];

/// Returns the move for a connection that failed with this cause, if one is known.
fn advice(cause: &(dyn Error + 'static), config: &EtcdConfig) -> Option<String> {
    let tls = &config.tls;
    if cause.downcast_ref().is_some_and(|e: &io::Error| e.kind() == io::ErrorKind::ConnectionRefused) {
        return Some(IS_IT_THERE.into());
    }
    // An etcd that speaks TLS closes a plain connection without a message.
    if cause.is::<hyper::Error>() && !config.is_tls() {
        return Some("is it running, and does it speak TLS there (then write https://)?".into());
    }
    // HTTP/2 keeps only the text of the error that ended its connection.
    if ALERTS.iter().any(|alert| cause.to_string().ends_with(&format!("received fatal alert: {alert:?}"))) {
        return Some(match &tls.identity {
            None => "it asks for a client's certificate: set ETCD_CERT and ETCD_KEY".into(),
            Some((cert, _)) => format!(
                "it does not take the certificate in ETCD_CERT={}: has that expired, or does etcd trust another authority?",
                cert.display()
            ),
        });
    }
    let todo = match cause.downcast_ref()? {
        rustls::Error::InvalidCertificate(why) => match (why, &tls.cacert) {
            (CertificateError::UnknownIssuer | CertificateError::BadSignature, Some(path)) => {
                return Some(format!(
                    "is the authority that signed etcd's certificate in ETCD_CACERT={}?",
                    path.display()
                ));
            }
            (CertificateError::UnknownIssuer | CertificateError::BadSignature, None) => {
                "this system does not know who signed etcd's certificate: set ETCD_CACERT to that authority's"
            }
            (CertificateError::Expired | CertificateError::ExpiredContext { .. }, _) => "renew etcd's certificate",
            (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }, _) => {
                "name etcd in ETCD_HOST or ETCD_ENDPOINTS as its certificate does"
            }
            _ => return None,
        },
        rustls::Error::InvalidMessage(_) => NO_TLS,
        _ => return None,
    };
    Some(todo.to_owned())
}
