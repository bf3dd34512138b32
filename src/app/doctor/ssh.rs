use std::sync::Arc;

use super::Finding;
use crate::app::{login, secrets_config};
use crate::settings::{Settings, SshdChoice};

pub const NAME: &str = "ssh";

/// Checks whether the way in by ssh can be open, if SSHD=auto asks for it.
pub async fn check(settings: Arc<Settings>) -> Vec<Finding> {
    if settings.sshd == SshdChoice::Off {
        return Vec::new();
    }
    let mut faults = login::faults(&settings).await;
    if faults.is_empty()
        && let Err(why) = login::ensure_closed(&secrets_config(&settings).place).await
    {
        faults.push(format!("{why:#}"));
    }
    let bad = faults.into_iter().map(|fault| Finding::bad(NAME, format!("nobody gets in: {fault}")));
    let findings: Vec<_> =
        bad.chain(login::lacks(&settings).into_iter().map(|lack| Finding::warn(NAME, lack))).collect();
    match findings.is_empty() {
        true => vec![Finding::ok(
            NAME,
            format!(
                "the stored authorized keys let in at port {}, while `image-factory sshd` runs",
                settings.sshd_port
            ),
        )],
        false => findings,
    }
}
