use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

use super::config::EtcdConfig;
use crate::outbound::causes;

/// Why an endpoint was of no use.
#[derive(Debug)]
pub struct EtcdFailure {
    pub why: String,
    /// What to do about it, where that is known.
    pub todo: Option<String>,
}

impl EtcdFailure {
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), todo: None }
    }

    pub fn todo(why: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { why: why.into(), todo: Some(todo.into()) }
    }

    /// Of a connection: what it was is at the end of the chain of causes.
    pub fn of(error: &(dyn Error + 'static), config: &EtcdConfig) -> Self {
        let mut failure = Self::new("");
        for cause in causes(error) {
            failure.why = cause.to_string();
            failure.todo = failure.todo.or_else(|| advice(cause, config));
        }
        failure
    }

    /// Nothing was heard for [`super::REQUEST`].
    pub fn silence() -> Self {
        Self::todo(
            format!("no answer within {} s", super::REQUEST.as_secs()),
            "does it hang, or are most members of its cluster away?",
        )
    }

    /// etcd wants to know who we are.
    pub fn anonymous(why: impl Into<String>) -> Self {
        Self::todo(why, "it asks for a user: set ETCD_USER and ETCD_PASSWORD")
    }
}

/// What the user's role lacks.
pub fn role(config: &EtcdConfig) -> String {
    let prefix = config.prefix();
    format!(
        "give the user a role that may read, and for `secrets put` write, what is below {prefix} \
         (v3: etcdctl role grant-permission ROLE readwrite {prefix} --prefix=true; v2: {prefix}*)"
    )
}

pub const IS_IT_THERE: &str = "is it running, and are ETCD_HOST and ETCD_PORT, or ETCD_ENDPOINTS, right?";
pub const NO_TLS: &str = "is it running, and does it speak TLS there (else write http://, and leave out ETCD_CACERT, ETCD_CERT and ETCD_KEY)?";

/// What etcd says of our certificate, or of there being none; which, depends on the version of Go.
const ALERTS: [AlertDescription; 5] = [
    AlertDescription::BadCertificate,
    AlertDescription::CertificateRequired,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
];

/// What to do about a connection that did not come about.
fn advice(cause: &(dyn Error + 'static), config: &EtcdConfig) -> Option<String> {
    let tls = &config.tls;
    if cause.downcast_ref().is_some_and(|e: &io::Error| e.kind() == io::ErrorKind::ConnectionRefused) {
        return Some(IS_IT_THERE.into());
    }
    // An etcd with TLS closes a connection without it, and says nothing.
    if cause.is::<hyper::Error>() && !config.is_tls() {
        return Some("is it running, and does it speak TLS there (then write https://)?".into());
    }
    // HTTP/2 keeps only the text of what ended its connection.
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
