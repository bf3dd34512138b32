use std::sync::Arc;

use super::Finding;
use crate::settings::{Settings, SyslogTarget};
use crate::telemetry;

pub const NAME: &str = "syslog";

/// Checks that the place that SYSLOG names is reached. Nothing is sent.
pub async fn check(settings: Arc<Settings>) -> Vec<Finding> {
    vec![match &settings.syslog {
        None => Finding::ok(NAME, "SYSLOG is not set: log lines also go to the host in syslog/host, if there is one"),
        Some(SyslogTarget::Off) => Finding::ok(NAME, "off: log lines go to standard error alone"),
        Some(place) => match telemetry::reach(place).await {
            Ok(()) => Finding::ok(NAME, format!("{place} is reached")),
            Err(error) => {
                Finding::bad(NAME, format!("{place} is not reached: {error}; correct SYSLOG, or the server there"))
            }
        },
    }]
}
