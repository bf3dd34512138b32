//! What happens once, before the daemon listens.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use reqwest::Certificate;

use crate::disk::Floor;
use crate::durable::replace_file;
use crate::engine::{Engine, Host, Instance};
use crate::git::{self, GitConfig, GitToken};
use crate::model::{Destinations, EtcdApi, RepoCase};
use crate::notify::{GitHub, GitHubAccess, GitHubConfig};
use crate::queue::{Priorities, Rules};
use crate::secrets::{EtcdConfig, Place, SecretsConfig, TlsFiles};
use crate::settings::{ApiAuth, FileTimes, Settings};

/// GitHub's, for a start without any set-up.
const SHIPPED_KNOWN_HOSTS: &str = include_str!("../../etc/known_hosts");
const SYSTEM_KNOWN_HOSTS: &str = "/etc/image-factory/known_hosts";
/// A socket's path has at most 107 bytes, of which `git` takes up to 31.
const LONGEST_RUN_DIR: usize = 76;

pub fn secrets_config(settings: &Settings) -> SecretsConfig {
    let endpoints = settings.etcd();
    SecretsConfig {
        place: match endpoints.is_empty() {
            true => Place::Folder(settings.secrets_dir()),
            false => Place::Etcd(EtcdConfig {
                endpoints,
                base: settings.etcd_totem_base.clone(),
                api: settings.etcd_api,
                login: settings.etcd_user.clone().zip(settings.etcd_password.clone()),
                tls: TlsFiles {
                    cacert: settings.etcd_cacert.clone(),
                    identity: settings.etcd_cert.clone().zip(settings.etcd_key.clone()),
                },
            }),
        },
        passphrase: settings.enc_passphrase.clone(),
        authorized_keys_file: settings.authorized_keys_file.clone(),
        repo_case: repo_case(settings),
    }
}

pub fn git_config(settings: &Settings, dir: PathBuf, run_dir: PathBuf, known_hosts: PathBuf) -> GitConfig {
    GitConfig {
        dir,
        run_dir,
        known_hosts,
        token: git_token(settings),
        cacert: settings.git_cacert.clone(),
        pure_history_times: settings.file_times == FileTimes::History,
        repo_case: repo_case(settings),
    }
}

/// Whether case matters in the names of repositories: REPO_CASE, or what is known of the host of GIT_URL.
pub fn repo_case(settings: &Settings) -> RepoCase {
    settings.repo_case.0.unwrap_or_else(|| match &settings.git_url {
        Some(url) => RepoCase::of_host(&git::host_of(&url.0).unwrap_or_default()),
        None => RepoCase::of_host("github.com"),
    })
}

pub fn git_token(settings: &Settings) -> Option<GitToken> {
    GitToken::new(
        settings.git_token.as_ref().or(settings.github_token.as_ref())?,
        settings.git_url.as_ref().map(|url| url.0.as_str()),
    )
}

/// Who sets commit statuses; none if neither a token nor an App is set.
pub fn github(settings: &Settings) -> anyhow::Result<Option<GitHub>> {
    let access = match (&settings.github_app_id, &settings.github_private_key, &settings.github_token) {
        (Some(id), Some(key), _) => GitHubAccess::App {
            id: id.clone(),
            private_key: key.clone(),
            installation: settings.github_installation_id.clone(),
        },
        (None, None, Some(token)) => GitHubAccess::Token(token.clone()),
        (None, None, None) => return Ok(None),
        _ => anyhow::bail!("GITHUB_APP_ID and GITHUB_PRIVATE_KEY belong together: set both, or neither"),
    };
    let authorities = settings.git_cacert.as_deref().map(git::read_authorities).transpose()?.unwrap_or_default();
    let authorities = authorities.iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>()?;
    let (api, base_url) = (settings.github_api.0.clone(), settings.base_url.to_string());
    Ok(Some(GitHub::new(GitHubConfig { api, base_url, access, authorities })?))
}

/// What decides about a job's place in the queue.
pub fn rules(settings: &Settings) -> anyhow::Result<Rules> {
    Ok(Rules {
        priorities: Priorities::new(&settings.priorities.0, repo_case(settings))
            .context("PRIORITIES cannot be used")?,
        supersede: settings.supersede,
    })
}

/// The settings that say where images go.
pub fn destinations(settings: &Settings) -> Destinations {
    Destinations {
        base: settings.docker_repo_base.clone(),
        name: settings.image_name.clone(),
        dockerfile: settings.dockerfile.clone(),
        context: settings.context.clone(),
        grants: settings.images_allowed.clone(),
        repo_case: repo_case(settings),
    }
}

pub fn engines(settings: &Settings) -> anyhow::Result<Vec<Engine>> {
    Ok(engine_hosts(settings)?.into_iter().map(|host| Engine::new(host).with_builder(settings.builder)).collect())
}

/// One at least, none twice.
pub fn engine_hosts(settings: &Settings) -> anyhow::Result<Vec<Host>> {
    let (name, addresses) = match settings.docker_hosts.0.as_slice() {
        [] => ("DOCKER_HOST", std::slice::from_ref(&settings.docker_host)),
        several => ("DOCKER_HOSTS", several),
    };
    let mut hosts = Vec::new();
    for address in addresses {
        let host = Host::new(address, settings.docker_certs())
            .map_err(|why| anyhow::anyhow!("{name}={address:?} cannot be used: {why}"))?;
        anyhow::ensure!(!hosts.contains(&host), "{name} has {address:?} twice: an engine is named once");
        hosts.push(host);
    }
    Ok(hosts)
}

pub fn floor(settings: &Settings) -> Floor {
    Floor { bytes: settings.disk_floor.0, inodes: settings.inode_floor }
}

/// What tells this data folder's daemon from others on an engine: made once, and kept.
pub fn instance(data_dir: &Path) -> anyhow::Result<Instance> {
    let path = data_dir.join("instance");
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() == 32 && text.trim().bytes().all(|b| b.is_ascii_hexdigit()) => {
            return Ok(Instance::new(text.trim()));
        }
        Ok(_) => anyhow::bail!("{} is damaged: remove it, and the next start makes one", path.display()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
    let instance = uuid::Uuid::now_v7().simple().to_string();
    replace_file(&path, 0o644, instance.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Instance::new(instance))
}

/// An empty folder for sockets, without what a killed daemon left there.
pub fn fresh_run_dir(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let mut dir = data_dir.join("run");
    if dir.as_os_str().len() > LONGEST_RUN_DIR {
        // Named after the inode of the data folder, so that the next start finds and clears it.
        let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(data_dir)?);
        dir = std::env::temp_dir().join(format!("image-factory-{inode}"));
    }
    match fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("cannot clear {}", dir.display()));
        }
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

pub fn known_hosts(settings: &Settings, run_dir: &Path) -> anyhow::Result<PathBuf> {
    if let Some(path) = &settings.known_hosts {
        fs::metadata(path).with_context(|| format!("KNOWN_HOSTS={path:?} cannot be read"))?;
        return Ok(path.clone());
    }
    let system = Path::new(SYSTEM_KNOWN_HOSTS);
    if system.exists() {
        return Ok(system.into());
    }
    let shipped = run_dir.join("known_hosts");
    fs::write(&shipped, SHIPPED_KNOWN_HOSTS).with_context(|| format!("cannot write {}", shipped.display()))?;
    Ok(shipped)
}

/// The Host names that a request may have when nothing proves who sent it, beside loopback's.
pub fn hosts(settings: &Settings, listen: &SocketAddr) -> Vec<String> {
    let base = settings.base_url.0.host_str().unwrap_or_default();
    vec![listen.to_string(), base.into()]
}

/// A few lines on what is configured and what is not.
pub fn say(settings: &Settings, listen: &SocketAddr) {
    let data = settings.data_dir();
    tracing::info!(
        "Image Factory {} listens on http://{listen}, data in {}",
        env!("CARGO_PKG_VERSION"),
        data.display()
    );
    match settings.etcd().as_slice() {
        [] => tracing::info!("secrets: from the folder {} (ETCD_HOST is not set)", settings.secrets_dir().display()),
        etcd => {
            let api = match settings.etcd_api {
                EtcdApi::Auto => "the API that has them (ETCD_API=auto)",
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
    match settings.hook_secret {
        Some(_) => tracing::info!("webhooks: POST {}/hooks/github, signed with HOOK_SECRET", settings.base_url),
        None => tracing::info!("webhooks: refused until HOOK_SECRET is set"),
    }
    match settings.api_auth {
        ApiAuth::Token => tracing::info!(
            "API: {} tokens, and the one in {}",
            settings.api_tokens.len(),
            super::admin_token_path(&data).display()
        ),
        ApiAuth::None => tracing::warn!("API: open to everyone who reaches the port (API_AUTH=none)"),
    }
    let source = settings.git_url.as_ref().map_or("GitHub", |url| &url.0);
    let allowed = settings.allow_repos.0.join(", ");
    tracing::info!(
        "builds: {allowed} from {source}, on {}, pushed to {}",
        match settings.docker_hosts.0.as_slice() {
            [] => settings.docker_host.clone(),
            several => several.join(", "),
        },
        settings.docker_repo_base
    );
    if let Some(token) = git_token(settings) {
        tracing::info!("git: GIT_TOKEN is sent to https://{} alone", token.host());
    }
    match settings.hook_post_url.0.as_slice() {
        [] => tracing::info!("post-build hook: none (HOOK_POST_URL is not set)"),
        urls => {
            // Not the whole addresses, which may have tokens in them.
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
    if settings.concurrency == 0 {
        tracing::warn!("CONCURRENCY=0: jobs are accepted and none is run");
    }
}
