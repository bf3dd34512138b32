//! The composition root: builds the parts from the settings, runs them, and drains on shutdown.

mod admin_token;
mod assemble;
mod branch_heads;
mod certificate;
mod data_dir;
pub mod doctor;
mod files;
mod images;
pub mod known_hosts;
mod ledger;
pub mod login;
mod missed;
pub mod own_socket;
mod parts;
mod readiness;
mod reload;
mod retention;
mod summary;
mod systemd;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use crate::http::Listener;
use crate::secrets::Secrets;
use crate::settings::{SettingError, Settings};
use crate::telemetry::{self, SyslogHandle};
use crate::{git, outbound};
pub use admin_token::path as admin_token_path;
pub use assemble::secrets::config as secrets_config;
use parts::DaemonParts;
pub use reload::Reloads;

/// Runs the daemon on `listener` until `shutdown` is cancelled and the running jobs are drained. Each of
/// the `reloads` reads the settings again. `syslog` gets its host from the secrets.
///
/// # Errors
/// A part cannot start: a folder cannot be used, another daemon uses it, or the address of an engine is not valid.
pub async fn run(
    settings: Settings,
    listener: Listener,
    reloads: Reloads,
    syslog: Option<Arc<SyslogHandle>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let parts = DaemonParts::assemble(&settings, files::raise_limit(), shutdown).await?;
    if let Some(syslog) = syslog {
        tokio::spawn(follow_syslog_host(syslog, parts.secrets()));
    }
    summary::log_summary(&settings);
    tokio::spawn(login::warn_of_faults(settings));
    parts.serve(listener, reloads).await
}

/// Sends log lines to the host in `syslog/host`, once the secrets were read.
async fn follow_syslog_host(syslog: Arc<SyslogHandle>, mut secrets: watch::Receiver<Arc<Secrets>>) {
    loop {
        {
            let secrets = secrets.borrow_and_update();
            if secrets.loaded {
                syslog.follow(secrets.syslog_host());
            }
        }
        if secrets.changed().await.is_err() {
            return; // the daemon stops
        }
    }
}

/// Returns what the start and a reload warn of beside the broken rules: a line in a file of host keys that ssh passes over,
/// because the first job of its host would be the first to say so.
pub fn warnings(settings: &Settings) -> Vec<String> {
    let line = |path: PathBuf| {
        let text = std::fs::read(&path).ok()?;
        let (keys, line) = git::count_host_keys(&String::from_utf8_lossy(&text));
        let (path, line) = (path.display(), line?);
        Some(format!(
            "{path}:{line} is no host key, so that ssh passes over it, and {keys} are left in the file: write names, kind and \
             key as ssh-keyscan shows them, or remove the line"
        ))
    };
    assemble::git::written_hosts(settings).into_iter().filter_map(line).collect()
}

/// Checks the rules that the settings' own types cannot check, and returns those that are broken: each error has the
/// name of the setting, its value and the rule.
pub fn check(settings: &Settings) -> Vec<SettingError> {
    let mut errors = check_at_reload(settings);
    if let Err(why) = certificate::read(settings) {
        errors.push(SettingError::new(["TLS_CERT", "TLS_KEY", "CERT_PATH"], format!("{why:#}")));
    }
    errors
}

/// Checks the rules of [`check`] without that of the listener's certificate. A reload leaves it out, because a revoked
/// token must not stay valid for a damaged certificate.
fn check_at_reload(settings: &Settings) -> Vec<SettingError> {
    let mut errors = Vec::new();
    let mut rule = |names: &[&'static str], result: anyhow::Result<()>| {
        errors.extend(result.err().map(|error| SettingError::new(names.iter().copied(), format!("{error:#}"))));
    };
    rule(&["DOCKER_HOST", "DOCKER_HOSTS", "POOL_FILE"], assemble::engine::hosts(settings, None).map(drop));
    rule(&["PRIORITIES"], assemble::queue::rules(settings).map(drop));
    rule(&["MEMORY_BUDGET"], assemble::memory::check(settings));
    rule(&["RUST_LOG"], telemetry::check_filter(settings));
    rule(&["LOG_IDENTIFIER"], telemetry::check_identifier(settings));
    rule(&["ETCD_CACERT", "ETCD_CERT", "ETCD_KEY"], secrets_config(settings).check().map_err(Into::into));
    rule(&["SLACK_URL"], assemble::notify::slack(settings).map(drop));
    let mailers = assemble::notify::mailer(settings).and_then(|_| assemble::notify::operators_mailer(settings));
    rule(assemble::notify::MAIL, mailers.map(drop));
    rule(&["GITHUB_APP_ID", "GITHUB_PRIVATE_KEY"], assemble::notify::github(settings).map(drop));
    for url in &settings.hook_post_url.0 {
        if let Some(address) = outbound::literal(&url.0).filter(|address| outbound::is_forbidden_target(*address)) {
            let why = "no hook goes to an address that is link-local or a cloud's metadata service";
            rule(&["HOOK_POST_URL"], Err(anyhow::anyhow!("HOOK_POST_URL leads to {address}: {why}")));
        }
    }
    if let Some(path) = &settings.known_hosts {
        let read = std::fs::metadata(path).with_context(|| format!("KNOWN_HOSTS={path:?} cannot be read"));
        rule(&["KNOWN_HOSTS"], read.map(drop));
    }
    if let Some(path) = &settings.git_cacert {
        rule(&["GIT_CACERT"], git::read_authorities(path).map(drop).map_err(Into::into));
    }
    errors
}
