//! What sending to HipChat and to Slack has in common.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{RequestBuilder, Response};

use super::failure::Failure;

/// A server that wants to rest for longer is asked earlier.
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// Posts a JSON body.
pub(super) async fn post(request: RequestBuilder, body: &str) -> Result<(), Failure> {
    let answer = request.header(CONTENT_TYPE, "application/json").body(body.to_owned()).send().await?;
    if answer.status().is_success() {
        return Ok(());
    }
    Err(Failure { retry_after: retry_after(&answer), ..Failure::answered(answer.status()) })
}

/// In seconds, as both write it; the form with a date is for caches.
fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_REST))
}
