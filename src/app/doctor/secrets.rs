use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Finding, Status};
use crate::app::assemble;
use crate::secrets::{self, Secrets, SecretsConfig, admin};
use crate::settings::Settings;

pub const NAME: &str = "secrets";

/// What a job would be given.
pub type Live = watch::Receiver<Arc<Secrets>>;

/// Reads the secrets for the checks that use some.
pub fn load(settings: &Settings, stop: CancellationToken) -> Live {
    // The daemon alone writes the authorized keys.
    let config = SecretsConfig { authorized_keys_file: None, ..assemble::secrets::config(settings) };
    secrets::start(config, stop)
}

/// The secrets when they are read, or None if they cannot be.
pub async fn loaded(mut live: Live) -> Option<Arc<Secrets>> {
    let known = live.wait_for(|secrets| secrets.loaded || !secrets.trouble.is_empty()).await.ok()?;
    known.loaded.then(|| known.clone())
}

/// The place can be read, and each secret in it be used.
pub async fn check(settings: Arc<Settings>) -> Vec<Finding> {
    let lines = admin::check(&assemble::secrets::config(&settings)).await;
    let finding = |line: admin::CheckLine| {
        let status = if line.ok { Status::Ok } else { Status::Bad };
        Finding::new(NAME, status, format!("{}: {}", line.name, line.text))
    };
    lines.into_iter().map(finding).collect()
}
