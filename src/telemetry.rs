//! What the daemon says about itself: log lines on standard error, and its state to systemd.

use std::io::IsTerminal;

use sd_notify::NotifyState;
use tracing_subscriber::EnvFilter;

use crate::settings::Settings;

/// Sends log lines to standard error, coloured on a terminal unless NO_COLOR is set.
///
/// # Errors
/// RUST_LOG cannot be read.
pub fn init(settings: &Settings) -> anyhow::Result<()> {
    let filter = filter(settings)?;
    let ansi = std::io::stderr().is_terminal() && settings.no_color.is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .with_target(false)
        .init();
    Ok(())
}

/// Reads RUST_LOG.
pub fn filter(settings: &Settings) -> anyhow::Result<EnvFilter> {
    let directives = &settings.rust_log;
    EnvFilter::try_new(directives).map_err(|e| anyhow::anyhow!("RUST_LOG={directives:?} is not valid: {e}"))
}

/// Tells systemd, when it started us with `Type=notify`.
pub fn tell_systemd(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told our state");
    }
}
