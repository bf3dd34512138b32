use std::sync::Arc;

use super::Finding;
use crate::settings::{ApiAuth, Settings};

pub const NAME: &str = "address";

/// Checks that webhooks are signed, and that tokens do not travel in the clear.
pub async fn check(settings: Arc<Settings>) -> Vec<Finding> {
    let (listen, base) = (settings.listen, &settings.base_url);
    let is_public = !listen.ip().is_loopback();
    let mut findings = vec![match &settings.hook_secret {
        Some(_) => Finding::ok(NAME, format!("webhooks go to {base}/hooks/github, signed with HOOK_SECRET")),
        None => Finding::warn(NAME, "webhooks are refused: set HOOK_SECRET, in the forge's webhook too"),
    }];
    if is_public && base.0.scheme() == "http" {
        findings.push(Finding::warn(
            NAME,
            format!("LISTEN={listen} is beyond loopback and BASE_URL={base} is not https: tokens travel in the clear; put a TLS proxy before it and set BASE_URL to its https address"),
        ));
    }
    if is_public && settings.api_auth == ApiAuth::None {
        let message =
            format!("API_AUTH=none with LISTEN={listen}: everyone who reaches the port may build; set API_AUTH=token");
        findings.push(Finding::warn(NAME, message));
    }
    findings
}
