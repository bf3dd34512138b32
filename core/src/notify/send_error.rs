use std::time::{Duration, UNIX_EPOCH};

use reqwest::{Response, StatusCode, header};

use crate::model::Millis;
use crate::outbound::chain;

/// The longest time that a receiver may put off the next attempt.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The reason why a notification did not arrive.
#[derive(Debug)]
pub struct SendError {
    /// One line, without a URL or a secret.
    pub message: String,
    /// True if further attempts are pointless.
    pub is_permanent: bool,
    /// The pause that the receiver asks for.
    pub retry_after: Option<Duration>,
}

impl SendError {
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_permanent: true, retry_after: None }
    }

    pub fn transient(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_permanent: false, retry_after: None }
    }

    /// Accepts a response that is a success, and turns any other into an error. The body is not read, because it may
    /// have no end.
    pub(super) fn check(response: &Response, now: Millis) -> Result<(), Self> {
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| parse_retry_after(value.to_str().ok()?, now));
        Err(Self { retry_after, ..Self::from_status(status) })
    }

    /// A client error is permanent, because the receiver says that the request itself is wrong. A redirect is not: it
    /// may come from a proxy that is being repaired.
    pub(super) fn from_status(status: StatusCode) -> Self {
        let transient = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        let is_permanent = status.is_client_error() && !transient.contains(&status);
        Self { message: format!("it was answered {status}"), is_permanent, retry_after: None }
    }
}

impl From<reqwest::Error> for SendError {
    /// Leaves the URL out, because it may hold a token.
    fn from(error: reqwest::Error) -> Self {
        let is_permanent = error.is_builder();
        Self { message: chain(&error.without_url()), is_permanent, retry_after: None }
    }
}

/// Parses `Retry-After`, which is a number of seconds or a date (RFC 9110, 10.2.3).
pub(super) fn parse_retry_after(text: &str, now: Millis) -> Option<Duration> {
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
            Millis(at.as_millis() as i64).since(now)
        }
    };
    Some(wait.min(LONGEST_WAIT))
}
