use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Finding, FindingStatus};
use crate::app::assemble;
use crate::secrets::{self, Secrets, SecretsConfig, admin};
use crate::settings::Settings;

pub const NAME: &str = "secrets";

/// The secrets that a job would get.
pub type Live = watch::Receiver<Arc<Secrets>>;

/// Reads the secrets for the checks that need them.
pub fn load(settings: &Settings, stop: CancellationToken) -> Live {
    // Only the daemon writes the authorized keys.
    let config = SecretsConfig { authorized_keys_file: None, ..assemble::secrets::config(settings) };
    secrets::start(config, stop)
}

/// Returns the secrets once they are read; `None` if they cannot be read.
pub async fn loaded(mut live: Live) -> Option<Arc<Secrets>> {
    let known = live.wait_for(|secrets| secrets.loaded || !secrets.trouble.is_empty()).await.ok()?;
    known.loaded.then(|| known.clone())
}

/// Checks that the place of the secrets can be read, and that each secret in it can be used.
pub async fn check(settings: Arc<Settings>) -> Vec<Finding> {
    let lines = admin::check(&assemble::secrets::config(&settings)).await;
    let finding = |line: admin::CheckLine| {
        let status = if line.ok { FindingStatus::Ok } else { FindingStatus::Bad };
        Finding::new(NAME, status, format!("{}: {}", line.name, line.text))
    };
    lines.into_iter().map(finding).collect()
}
