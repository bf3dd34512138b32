use std::sync::Arc;

use reqwest::Url;

use super::Finding;
use crate::app::assemble;
use crate::notify::chat_client;
use crate::outbound::{causes, is_loopback};
use crate::settings::Settings;

pub const NAME: &str = "chat";

/// Checks that HipChat and Slack are reached. Nothing is sent, so a wrong token is not found: only a message would show it.
pub async fn check(settings: Arc<Settings>) -> Vec<Finding> {
    let hipchat = assemble::notify::hipchat(&settings).map(|hipchat| ("HipChat", "HIPCHAT_API", hipchat.api));
    // The check of the settings reports an address that cannot be used.
    let slack = assemble::notify::slack(&settings).ok().flatten();
    let slack = slack.and_then(|slack| Some(("Slack", "SLACK_URL", Url::parse(&slack.url).ok()?)));
    let operators = settings.notify_operators.chats.iter();
    let operators = operators.map(|url| ("the operators' chat", "NOTIFY_OPERATORS", url.0.clone()));
    let each = hipchat.into_iter().chain(slack).chain(operators);
    let each = each.map(|(who, setting, url)| check_one(who, setting, url));
    let findings = futures_util::future::join_all(each).await;
    match findings.is_empty() {
        true => vec![Finding::ok(NAME, "neither HipChat nor Slack: HIPCHAT_TOKEN and SLACK_URL are not set")],
        false => findings,
    }
}

async fn check_one(who: &str, setting: &str, url: Url) -> Finding {
    // Only the host and port are shown, because the address may contain a token.
    let host = url.host_str().unwrap_or_default();
    let place = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
    let is_here = is_loopback(&url);
    match reach(&url).await {
        Ok(()) if url.scheme() == "http" && !is_here => Finding::warn(
            NAME,
            format!("{who} is reached at {place}, but its token goes there in the clear: {setting} is not https"),
        ),
        Ok(()) => Finding::ok(NAME, format!("{who} is reached at {place}")),
        Err(error) => Finding::bad(
            NAME,
            format!("{who} is not reached at {place}: {error}; correct {setting}, or the server there"),
        ),
    }
}

/// Asks the server for its first page by the client of the channels, which may go through a proxy. Any answer will do.
async fn reach(url: &Url) -> Result<(), String> {
    let innermost = |error: reqwest::Error| causes(&error).last().map(ToString::to_string).unwrap_or_default();
    let mut page = url.clone();
    page.set_path("/");
    page.set_query(None);
    chat_client().map_err(innermost)?.head(page).send().await.map(drop).map_err(innermost)
}
