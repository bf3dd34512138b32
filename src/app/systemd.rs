//! What systemd is told while the daemon runs: that it is well, how it is, and that it drains.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::store::Store;
use crate::telemetry::notify_systemd;

/// A loop that has been silent for longer hangs: they beat every 5 s.
const SILENCE: Duration = Duration::from_secs(30);
/// How often the state is looked at.
const TICK: Duration = Duration::from_secs(2);
/// While it drains, the time for stopping is asked for in pieces of this length.
const EXTENSION: Duration = Duration::from_secs(30);

pub struct Watchdog {
    pub store: Store,
    pub metrics: Metrics,
    pub degraded: watch::Receiver<Vec<String>>,
    pub shutdown: CancellationToken,
}

impl Watchdog {
    /// Until it is dropped. Without systemd, nothing.
    pub async fn run(self) {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return;
        }
        let half = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        let (mut fed, mut extended): (Option<Instant>, Option<Instant>) = (None, None);
        let (mut shown, mut said) = (String::new(), None);
        loop {
            let is_hungry = half.is_some_and(|half| fed.is_none_or(|fed| fed.elapsed() >= half));
            if is_hungry {
                let trouble = self.trouble().await;
                if trouble.is_none() {
                    notify_systemd(&[NotifyState::Watchdog]);
                    fed = Some(Instant::now());
                } else if trouble != said {
                    let why = trouble.as_deref().unwrap_or_default();
                    tracing::error!("the watchdog of systemd is not fed, which restarts us if it lasts: {why}");
                }
                said = trouble;
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
            // A quarter of what is to be fed in time, where that is less.
            tokio::time::sleep(half.map_or(TICK, |half| (half / 4).min(TICK))).await;
        }
    }

    /// Why nothing goes on, if so.
    async fn trouble(&self) -> Option<String> {
        if let Err(error) = self.store.ping().await {
            return Some(error.to_string());
        }
        // They end one after the other while the daemon stops.
        if self.shutdown.is_cancelled() {
            return None;
        }
        let silent = self.metrics.heartbeats().into_iter().find(|(_, heart)| heart.silent_for() > SILENCE);
        silent.map(|(name, _)| format!("the {name} loop makes no progress"))
    }

    /// One line: how much there is to do, and what is wrong.
    async fn status(&self) -> String {
        let mut status = match self.store.queue_depth().await {
            Ok(depth) => format!("{} running, {} pending", depth.running, depth.pending),
            Err(_) => "the store cannot be read".into(),
        };
        if self.shutdown.is_cancelled() {
            return format!("stopping: {status}");
        }
        let reasons = self.degraded.borrow().clone();
        if !reasons.is_empty() {
            status += &format!("; degraded: {}", reasons.join("; "));
        }
        status.replace('\n', " ")
    }
}
