use std::sync::Arc;

use reqwest::Url;

use super::{Finding, post_build};
use crate::app::assemble;
use crate::outbound::is_loopback;
use crate::settings::{HttpUrl, Settings};

pub const NAME: &str = "chat";

/// Checks that HipChat and Slack are reached. Nothing is sent, so a wrong token is not found: only a message would show it.
pub async fn check(settings: Arc<Settings>) -> Vec<Finding> {
    let hipchat = assemble::notify::hipchat(&settings).map(|hipchat| ("HipChat", "HIPCHAT_API", hipchat.api));
    // The check of the settings reports an address that cannot be used.
    let slack = assemble::notify::slack(&settings).ok().flatten();
    let slack = slack.and_then(|slack| Some(("Slack", "SLACK_URL", Url::parse(&slack.url).ok()?)));
    let each = hipchat.into_iter().chain(slack).map(|(who, setting, url)| check_one(who, setting, HttpUrl(url)));
    let findings = futures_util::future::join_all(each).await;
    match findings.is_empty() {
        true => vec![Finding::ok(NAME, "neither HipChat nor Slack: HIPCHAT_TOKEN and SLACK_URL are not set")],
        false => findings,
    }
}

async fn check_one(who: &str, setting: &str, url: HttpUrl) -> Finding {
    // Only the host and port are shown, because the address may contain a token.
    let host = url.0.host_str().unwrap_or_default();
    let place = format!("{host}:{}", url.0.port_or_known_default().unwrap_or_default());
    let is_here = is_loopback(&url.0);
    match post_build::connect(&url, &place).await {
        Ok(()) if url.0.scheme() == "http" && !is_here => Finding::warn(
            NAME,
            format!("{who} is reached at {place}, but its token goes there in the clear: {setting} is not https"),
        ),
        Ok(()) => Finding::ok(NAME, format!("{who} is reached at {place}")),
        Err(error) => Finding::bad(
            NAME,
            format!("{who} is not reached at {place}: {error:#}; correct {setting}, or the server there"),
        ),
    }
}
