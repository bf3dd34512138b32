use super::admin_token;
use super::assemble::{engine, git, notify};
use crate::model::{Dialect, EtcdApi, ListenAddress};
use crate::settings::{ApiAuth, Settings};

/// Logs in a few lines what is configured and what is not.
pub fn log_summary(settings: &Settings) {
    let data = settings.data_dir();
    let listen = match &settings.listen {
        ListenAddress::Tcp(address) if settings.certificate().is_some() => format!("https://{address}"),
        ListenAddress::Tcp(address) => format!("http://{address}"),
        socket @ ListenAddress::Unix(_) => socket.to_string(),
    };
    tracing::info!("Image Factory {} listens on {listen}, data in {}", env!("CARGO_PKG_VERSION"), data.display());
    match settings.etcd().as_slice() {
        [] => tracing::info!("secrets: from the folder {} (ETCD_HOST is not set)", settings.secrets_dir().display()),
        etcd => {
            let api = match settings.etcd_api {
                EtcdApi::Auto => "its v3 API, else v2, for each secret (ETCD_API=auto)",
                EtcdApi::V3 => "its v3 API",
                EtcdApi::V2 => "its v2 API",
            };
            let (etcd, base) = (etcd.join(", "), &settings.etcd_totem_base);
            tracing::info!("secrets: from etcd at {etcd}, below {base}, by {api}");
        }
    }
    if settings.enc_passphrase.is_none() {
        tracing::info!("secrets: ENC_PASSPHRASE is not set, so encrypted ones cannot be used");
    }
    let dialects = &settings.dialects;
    tracing::info!("served: the APIs of {dialects} (DIALECTS)");
    log_webhooks(settings);
    if dialects.has(Dialect::ComposeCi) {
        let name = if settings.ci_token.is_some() { "CI_TOKEN" } else { "GITHUB_TOKEN (CI_TOKEN is not set)" };
        tracing::info!("webhooks of compose-ci: POST {}/?token=…, which is {name}", settings.base_url);
    }
    match settings.api_auth {
        ApiAuth::Token => tracing::info!(
            "API: {} tokens, and the one in {}",
            settings.api_tokens.len(),
            admin_token::path(&data).display()
        ),
        ApiAuth::None => tracing::warn!("API: open to everyone who reaches the port (API_AUTH=none)"),
    }
    let source = settings.git_url.as_ref().map_or("GitHub", |url| &url.0);
    let allowed = settings.allow_repos.0.join(", ");
    tracing::info!(
        "builds: {allowed} from {source}, on {}, pushed to {}",
        engine::hosts(settings, None)
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        settings.docker_repo_base
    );
    if let Some(token) = git::token(settings) {
        tracing::info!("git: GIT_TOKEN is sent to https://{} alone", token.host());
    }
    match settings.hook_post_url.0.as_slice() {
        [] => tracing::info!("post-build hook: none (HOOK_POST_URL is not set)"),
        urls => {
            // Only the hosts are logged, because the addresses may contain tokens.
            let hosts: Vec<_> = urls.iter().map(|url| url.0.host_str().unwrap_or_default()).collect();
            let signed = match (&settings.hook_post_secret, &settings.hook_secret) {
                (Some(own), github) if Some(own) != github.as_ref() => "signed with HOOK_POST_SECRET",
                (Some(_), _) => {
                    "signed with HOOK_POST_SECRET, which is HOOK_SECRET: who verifies it can forge webhooks"
                }
                (None, Some(_)) => "signed with HOOK_SECRET (who verifies it can forge webhooks: set HOOK_POST_SECRET)",
                (None, None) => "not signed",
            };
            tracing::info!("post-build hook: to {}, {signed}", hosts.join(", "));
        }
    }
    match (&settings.github_app_id, &settings.github_token) {
        (Some(id), _) => tracing::info!("commit statuses: at {}, by the GitHub App {id}", settings.github_api),
        (None, Some(_)) => tracing::info!("commit statuses: at {}, by GITHUB_TOKEN", settings.github_api),
        (None, None) => tracing::info!("commit statuses: none (neither GITHUB_TOKEN nor GITHUB_APP_ID is set)"),
    }
    if settings.concurrency == Some(0) {
        tracing::warn!("CONCURRENCY=0: jobs are accepted and none is run");
    }
    notify::log_summary(settings);
}

/// Logs how webhooks are signed, and the secrets that are too short for it.
pub fn log_webhooks(settings: &Settings) {
    let dialects = &settings.dialects;
    let hooks = if dialects.has(Dialect::Totem) { "/hooks/github" } else { "/" };
    match settings.hook_secret {
        _ if !dialects.has(Dialect::Totem) && !dialects.has(Dialect::Conveyor) => {
            tracing::info!("signed webhooks: none, because DIALECTS has neither totem nor conveyor");
        }
        Some(_) => tracing::info!("webhooks: POST {}{hooks}, signed with HOOK_SECRET", settings.base_url),
        None => tracing::info!("webhooks: refused until HOOK_SECRET is set"),
    }
    for name in settings.short_secrets() {
        tracing::warn!(
            "{name} has less than 16 characters, so who sees a signed request can guess it: set a longer one, at the other side too"
        );
    }
}
