use reqwest::Error;

/// The reason why the command line has no answer to show.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the address {url:?} cannot be used: {cause}; write http://HOST:PORT")]
    Address { url: String, cause: String },
    #[error("{url} was not reached: {cause}; is `image-factory serve` running there?")]
    Unreachable { url: String, cause: String },
    #[error("{url} cannot answer now ({status}): {message}")]
    Unavailable { url: String, status: u16, message: String },
    #[error("refused ({status} {code}): {message}")]
    Refused { status: u16, code: String, message: String },
    #[error("{url} did not answer like an Image Factory: {cause}; check --url and IMAGE_FACTORY_URL")]
    UnexpectedAnswer { url: String, cause: String },
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
    cause.to_string()
}
