use reqwest::Error;
use rustls::CertificateError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::outbound::causes;

/// The reason why the command line has no answer to show.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the address {url:?} cannot be used: {cause}; write http://HOST:PORT")]
    Address { url: String, cause: String },
    #[error("{url} was not reached: {cause}; is `image-factory serve` running there?")]
    Unreachable { url: String, cause: String },
    #[error("{url} cannot answer now ({status}): {message}")]
    Unavailable { url: String, status: u16, message: String },
    #[error("refused ({status} {}): {}", .answer.code, .answer.sentence())]
    Refused { status: u16, answer: ErrorAnswer },
    #[error("no job of {repo} is for the branch or tag {branch}; see `image-factory jobs --repo {repo}`")]
    NoJobOf { repo: String, branch: String },
    #[error("{url} did not answer like an Image Factory: {cause}; check --url and IMAGE_FACTORY_URL")]
    UnexpectedAnswer { url: String, cause: String },
}

/// The body of an answer that is an error.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorAnswer {
    pub code: String,
    /// A text, or for a body that is not valid a list of `{"code","message","path","params"}`.
    message: Value,
}

impl ErrorAnswer {
    /// Returns the message in words: a violation as `PROPERTY: MESSAGE`, several with semicolons between them.
    pub fn sentence(&self) -> String {
        let violation = |violation: &Value| {
            let text = |name: &str| violation[name].as_str();
            let property = text("path").unwrap_or_default().trim_start_matches(['#', '/']).replace('/', ".");
            match (&*property, text("message")) {
                ("", Some(message)) => message.to_owned(),
                (property, Some(message)) => format!("{property}: {message}"),
                (_, None) => violation.to_string(),
            }
        };
        match &self.message {
            Value::String(message) => message.clone(),
            Value::Array(violations) => violations.iter().map(violation).collect::<Vec<_>>().join("; "),
            other => other.to_string(),
        }
    }
}

/// Returns the cause behind reqwest's layers, because the layers say little: `Connection refused (os error 111)`.
pub fn innermost(error: &Error) -> String {
    if error.is_timeout() {
        return "it took too long".into();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match causes(error).find_map(|cause| cause.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "no authority that this machine knows signed its certificate; name the certificate's file in \
             IMAGE_FACTORY_CACERT"
                .into()
        }
        Some(rustls::Error::InvalidMessage(_)) => "it speaks no TLS; write http:// instead of https://".into(),
        _ => cause.to_string(),
    }
}
