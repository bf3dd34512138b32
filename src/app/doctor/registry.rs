use std::sync::Arc;

use super::secrets::{Live, loaded};
use super::{Finding, ProbedRepo};
use crate::model::ImageRef;
use crate::registry::Registries;
use crate::settings::Settings;

pub const NAME: &str = "registry";

/// Checks that the image of the repository can be pushed. Nothing is tried without a repository, because some registries
/// make one for every push that is asked for.
pub async fn check(settings: Arc<Settings>, live: Live, probed: Option<ProbedRepo>) -> Vec<Finding> {
    let base = &settings.docker_repo_base;
    let Some(secrets) = loaded(live).await else {
        return vec![Finding::warn(NAME, format!("{base} was not tried: the secrets cannot be read"))];
    };
    let (owner, repo) = probed.as_ref().map_or(("any", "any"), |ProbedRepo { repo, .. }| (repo.owner(), repo.name()));
    let name = settings.image_name.of(base, owner, repo);
    let image = match ImageRef::parse(&format!("{name}:HEAD")) {
        Ok(image) => image,
        Err(error) => return vec![Finding::bad(NAME, format!("{error}: correct DOCKER_REPO_BASE"))],
    };
    let auth = secrets.image_auth(probed.as_ref().map(|probed| &probed.repo), &image);
    if probed.is_none() {
        let login = if auth.is_some() { "has a login" } else { "has no login" };
        let message = format!("the dockercfg {login} for {base}; --repo OWNER/REPO tries a push");
        return vec![Finding::ok(NAME, message)];
    }
    vec![match Registries::new(settings.token_servers_allowed.clone()).check_push(&image, auth.as_ref()).await {
        Ok(access) => Finding::ok(NAME, access.to_string()),
        Err(error) => Finding::bad(NAME, error.to_string()),
    }]
}
