use std::sync::Arc;

use super::{Finding, ProbedRepo};
use crate::app::assemble::git::selection;
use crate::model::{Dialect, RefGlob};
use crate::settings::{ApiAuth, Settings};

pub const NAME: &str = "address";

/// Checks that webhooks are signed, that pushes of the repository make jobs, and that tokens do not travel in the clear.
pub async fn check(settings: Arc<Settings>, probed: Option<ProbedRepo>) -> Vec<Finding> {
    let (listen, base) = (&settings.listen, &settings.base_url);
    let is_public = !listen.is_local();
    let mut findings = vec![match &settings.hook_secret {
        Some(_) => Finding::ok(NAME, format!("webhooks go to {base}/hooks/github, signed with HOOK_SECRET")),
        None => Finding::warn(NAME, "webhooks are refused: set HOOK_SECRET, in the forge's webhook too"),
    }];
    findings.extend(settings.short_secrets().into_iter().map(|name| {
        let cure = "set one of `openssl rand -hex 32`, at the other side too";
        Finding::bad(NAME, format!("{name} has less than 16 characters, so it can be guessed: {cure}"))
    }));
    if settings.dialects.has(Dialect::ComposeCi) && settings.ci_token() == settings.github_token.as_ref() {
        findings.push(Finding::warn(
            NAME,
            "compose-ci's webhooks have GITHUB_TOKEN in their address, which proxies may log: set another CI_TOKEN, there too",
        ));
    }
    findings.extend(probed.and_then(|probed| unbuilt(&settings, &probed)).map(|why| Finding::warn(NAME, why)));
    if is_public && base.0.scheme() == "http" && settings.certificate().is_none() {
        findings.push(Finding::warn(
            NAME,
            format!("LISTEN={listen} is beyond loopback and BASE_URL={base} is not https: tokens travel in the clear; set TLS_CERT and TLS_KEY, or put a TLS proxy before it and set BASE_URL to its https address"),
        ));
    }
    if is_public && settings.api_auth == ApiAuth::None {
        let message =
            format!("API_AUTH=none with LISTEN={listen}: everyone who reaches the port may build; set API_AUTH=token");
        findings.push(Finding::warn(NAME, message));
    }
    findings
}

/// Returns why pushes of this branch make no job. The check of Git reports a repository that ALLOW_REPOS does not name.
fn unbuilt(settings: &Settings, ProbedRepo { repo, branch }: &ProbedRepo) -> Option<String> {
    // A bare name is a branch's here, as it is for a job.
    let name = branch.as_ref()?.full_names().into_iter().next()?;
    let reason = selection(settings).skips(&name, None)?;
    let kind = if name.starts_with(RefGlob::TAGS) { "tag" } else { "branch" };
    Some(format!("pushes of this {kind} of {repo} are skipped: {}", reason.text()))
}
