//! What sending to HipChat and to Slack has in common.

use reqwest::RequestBuilder;
use reqwest::header::CONTENT_TYPE;

use super::send_error::Failure;
use crate::model::Millis;

/// Posts a JSON body.
pub(super) async fn post(request: RequestBuilder, body: &str, now: Millis) -> Result<(), Failure> {
    let answer = request.header(CONTENT_TYPE, "application/json").body(body.to_owned()).send().await?;
    if answer.status().is_success() { Ok(()) } else { Err(Failure::of(&answer, now)) }
}
