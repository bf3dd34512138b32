use std::time::{Duration, UNIX_EPOCH};

use reqwest::{Response, StatusCode, header};

use crate::model::Millis;
use crate::outbound::chain;

/// The longest that an answer may put off the next try.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);

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

    pub fn passing(error: impl Into<String>) -> Self {
        Self { error: error.into(), permanent: false, retry_after: None }
    }

    /// An answer that is no success. Its body is not read: it may have no end.
    pub fn of(answer: &Response, now: Millis) -> Self {
        let retry_after = answer.headers().get(header::RETRY_AFTER).and_then(|value| wait(value.to_str().ok()?, now));
        Self { retry_after, ..Self::answered(answer.status()) }
    }

    /// Only what the receiver says about the request itself is for good; a redirect may be a proxy's that is being mended.
    pub fn answered(status: StatusCode) -> Self {
        let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
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

/// What `Retry-After` says: seconds, or a date (RFC 9110, 10.2.3).
pub(super) fn wait(text: &str, now: Millis) -> Option<Duration> {
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
            Millis(at.as_millis() as i64).since(now)
        }
    };
    Some(wait.min(LONGEST_WAIT))
}
