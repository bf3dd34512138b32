use std::time::Duration;

use reqwest::StatusCode;

/// Why a notification did not arrive.
#[derive(Debug)]
pub(super) struct Failure {
    /// One line, without a URL or a secret.
    pub error: String,
    /// It never will.
    pub permanent: bool,
    /// The other side says when to come again.
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub fn permanent(error: impl Into<String>) -> Self {
        Self { error: error.into(), permanent: true, retry_after: None }
    }

    /// Only what the receiver says about the request itself is for good; a redirect may be a proxy's that is being mended.
    pub fn answered(status: StatusCode) -> Self {
        let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        let permanent = status.is_client_error() && !later.contains(&status);
        Self { error: format!("it was answered {status}"), permanent, retry_after: None }
    }
}

impl From<reqwest::Error> for Failure {
    /// Without the URL: it may hold a token.
    fn from(error: reqwest::Error) -> Self {
        let permanent = error.is_builder();
        Self { error: chain(&error.without_url()), permanent, retry_after: None }
    }
}

/// An error with its causes, in one line: `error sending request: connection refused`.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
