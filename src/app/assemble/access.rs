use std::sync::Arc;

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{git, images};
use crate::app::admin_token;
use crate::git::GitToken;
use crate::intake::{AllowedRepos, Policy};
use crate::model::{ApiToken, Role};
use crate::secrets::Secrets;
use crate::settings::Settings;

/// Returns the configured tokens, that of ssh, and the admin token, which the first start makes.
pub fn tokens(settings: &Settings, ssh_token: Option<&ApiToken>) -> anyhow::Result<Vec<ApiToken>> {
    let mut tokens = settings.api_tokens.clone();
    tokens.extend(ssh_token.cloned());
    let token = admin_token::read_or_create(&settings.data_dir())?;
    if let Some(other) = tokens.iter().find(|other| other.token == token) {
        anyhow::bail!(
            "API_TOKENS has for {} the token in {}, which is the admin's: give it a token of its own",
            other.name,
            admin_token::path(&settings.data_dir()).display()
        );
    }
    tokens.push(ApiToken { name: "admin".into(), role: Role::Admin, token });
    Ok(tokens)
}

/// Returns the settings' secrets that programs of a job could print, which logs mask beside those in etcd or in the folder
/// of secrets. The others never come near a build, and a mask answers guesses.
pub fn masks(settings: &Settings) -> Vec<Zeroizing<String>> {
    git::token(settings).iter().flat_map(GitToken::masks).collect()
}

/// Returns the daemon's own secrets, which no build may be given.
pub fn refused(settings: &Settings, tokens: &[ApiToken]) -> Vec<Zeroizing<String>> {
    let mut refused = settings.secrets();
    refused.extend(tokens.iter().map(|token| token.token.clone()));
    refused.extend(masks(settings));
    // An address may contain a token.
    for url in &settings.hook_post_url.0 {
        refused.extend(url.0.password().map(|password| password.to_owned().into()));
        refused.extend(url.0.query_pairs().map(|(_, value)| value.into_owned().into()));
    }
    refused
}

/// Returns the rules of what may be built, and where its image goes. No build may be given one of the `refused` secrets.
///
/// # Errors
/// ALLOW_REPOS cannot be used.
pub fn policy(
    settings: &Settings,
    refused: Vec<Zeroizing<String>>,
    secrets: watch::Receiver<Arc<Secrets>>,
) -> anyhow::Result<Policy> {
    let allowed_repos = AllowedRepos::new(&settings.allow_repos.0, git::repo_case(settings))?;
    Ok(Policy::new(allowed_repos, git::selection(settings), images::destinations(settings), refused, secrets))
}

/// Returns the Host names that a request without a token or with a password may have, beside those of loopback.
pub fn hosts(settings: &Settings) -> Vec<String> {
    let base = settings.base_url.0.host_str().unwrap_or_default();
    [settings.listen.to_string(), base.into()].into_iter().chain(settings.hosts.0.clone()).collect()
}
