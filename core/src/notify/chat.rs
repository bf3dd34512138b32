//! HTTP that HipChat and Slack share.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder};

use super::send_error::SendError;
use crate::model::Millis;
use crate::outbound::{self, Route};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Makes a client for a service of the internet, which may be behind a proxy.
///
/// # Errors
/// The system has no usable TLS authorities.
pub fn client() -> reqwest::Result<Client> {
    outbound::client(Route::Environment).timeout(TIMEOUT).build()
}

/// Posts a JSON body.
pub(super) async fn post(request: RequestBuilder, body: &str, now: Millis) -> Result<(), SendError> {
    let response = request.header(CONTENT_TYPE, "application/json").body(body.to_owned()).send().await?;
    SendError::check(&response, now)
}
