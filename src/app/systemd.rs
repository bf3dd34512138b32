//! Reports to systemd while the daemon runs: the watchdog's signal, a line of status, and more time while it drains.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::http::without_repositories;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::telemetry::notify_systemd;

/// Longest silence of a loop that does not hang. Loops give a heartbeat every 5 s.
const SILENCE: Duration = Duration::from_secs(30);
/// Time between two looks at the state.
const TICK: Duration = Duration::from_secs(2);
/// Length of the pieces in which a draining daemon asks for more time.
const EXTENSION: Duration = Duration::from_secs(30);

/// The daemon's side of systemd's watchdog.
pub struct Watchdog {
    pub store: Store,
    pub metrics: Metrics,
    pub degraded: watch::Receiver<Vec<String>>,
    pub shutdown: CancellationToken,
}

impl Watchdog {
    /// Reports until it is dropped. Does nothing without systemd.
    pub async fn run(self) {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return;
        }
        let half = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        let (mut signalled, mut extended): (Option<Instant>, Option<Instant>) = (None, None);
        let (mut shown, mut reported) = (String::new(), None);
        loop {
            let is_due = half.is_some_and(|half| signalled.is_none_or(|signalled| signalled.elapsed() >= half));
            if is_due {
                let stall = self.stall().await;
                if stall.is_none() {
                    notify_systemd(&[NotifyState::Watchdog]);
                    signalled = Some(Instant::now());
                } else if stall != reported {
                    let why = stall.as_deref().unwrap_or_default();
                    tracing::error!(
                        "the watchdog of systemd is not fed, so systemd restarts the daemon if this lasts: {why}"
                    );
                }
                reported = stall;
            }
            let status = self.status().await;
            if status != shown {
                notify_systemd(&[NotifyState::Status(&status)]);
                shown = status;
            }
            if self.shutdown.is_cancelled() && extended.is_none_or(|at| at.elapsed() > EXTENSION / 3) {
                notify_systemd(&[NotifyState::ExtendTimeoutUsec(EXTENSION.as_micros() as u32)]);
                extended = Some(Instant::now());
            }
            // systemd wants a signal within twice `half`, so a quarter of `half` is in time even if TICK is longer.
            tokio::time::sleep(half.map_or(TICK, |half| (half / 4).min(TICK))).await;
        }
    }

    /// Returns the reason why the daemon makes no progress, if it makes none.
    async fn stall(&self) -> Option<String> {
        if let Err(error) = self.store.ping().await {
            return Some(error.to_string());
        }
        // The loops end one after the other while the daemon stops.
        if self.shutdown.is_cancelled() {
            return None;
        }
        let silent = self.metrics.heartbeats().into_iter().find(|(_, heart)| heart.silent_for() > SILENCE);
        silent.map(|(name, _)| format!("the {name} loop makes no progress"))
    }

    /// Returns one line with the number of jobs and the reasons why the daemon is degraded.
    async fn status(&self) -> String {
        let mut status = match self.store.queue_depth().await {
            Ok(depth) => format!("{} running, {} pending", depth.running, depth.pending),
            Err(_) => "the store cannot be read".into(),
        };
        if self.shutdown.is_cancelled() {
            return format!("stopping: {status}");
        }
        // `systemctl status` shows the line to every user of the machine.
        let reasons = without_repositories(self.degraded.borrow().clone());
        if !reasons.is_empty() {
            status += &format!("; degraded: {}", reasons.join("; "));
        }
        status.replace('\n', " ")
    }
}
