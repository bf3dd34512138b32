//! The daemon's log lines on standard error and to syslog, and its state for systemd.

mod connection;
mod format;
mod layer;
mod line;
mod syslog;

use std::io::IsTerminal;

use sd_notify::NotifyState;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{self, LogFormat, Settings};
pub use connection::reach;
use layer::LineLayer;
pub use syslog::SyslogHandle;

/// Sends log lines to standard error, as LOG_FORMAT says and coloured on a terminal unless NO_COLOR is set, and to syslog unless SYSLOG says
/// off. Without SYSLOG the lines wait until [`SyslogHandle::follow`] names the target. The caller is on the runtime.
///
/// # Errors
/// RUST_LOG cannot be read.
pub fn init(settings: &Settings) -> anyhow::Result<Option<SyslogHandle>> {
    let is_json = settings.log_format == LogFormat::Json;
    let ansi = std::io::stderr().is_terminal() && settings.no_color.is_none();
    let text = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi).with_target(false);
    let text = (!is_json).then_some(text);
    let (queue, syslog) = match &settings.syslog {
        Some(settings::SyslogTarget::Off) => (None, None),
        target => {
            let (queue, syslog) = syslog::start(target.clone(), &settings.log_identifier);
            (Some(queue), Some(syslog))
        }
    };
    let lines = LineLayer { syslog: queue, is_json };
    tracing_subscriber::registry().with(filter(settings)?).with(text).with(lines).init();
    if is_json {
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    }
    Ok(syslog)
}

/// Checks RUST_LOG.
///
/// # Errors
/// It cannot be read.
pub fn check_filter(settings: &Settings) -> anyhow::Result<()> {
    filter(settings).map(drop)
}

/// Checks LOG_IDENTIFIER.
///
/// # Errors
/// It is no name that syslog takes.
pub fn check_identifier(settings: &Settings) -> anyhow::Result<()> {
    let name = &settings.log_identifier;
    // The name is APP-NAME of RFC 5424. The older form ends it at a bracket or a colon.
    let fits = |b: u8| b.is_ascii_graphic() && !b"[]:".contains(&b);
    anyhow::ensure!(
        name.len() <= 48 && name.bytes().all(fits),
        "LOG_IDENTIFIER={name:?} is not valid: use at most 48 letters, digits and signs, without spaces, colons and brackets"
    );
    Ok(())
}

fn filter(settings: &Settings) -> anyhow::Result<EnvFilter> {
    let directives = &settings.rust_log;
    EnvFilter::try_new(directives).map_err(|e| anyhow::anyhow!("RUST_LOG={directives:?} is not valid: {e}"))
}

/// Notifies systemd of our state, if it started us with `Type=notify`.
pub fn notify_systemd(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be notified of our state");
    }
}
