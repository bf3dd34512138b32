//! Counters and times for Prometheus, taken where things happen. A label has few values, so no repository and no job is
//! one.

mod heartbeat;
mod process;
mod scrape;

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::model::{StageName, StageStatus};
pub use heartbeat::Heartbeat;
pub use scrape::{MetricKind, Scrape};

/// Bounds in seconds, from a checkout of 50 ms to a build of an hour.
const BUCKETS: [f64; 13] = [0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 3600.0];

/// The result of an attempt to send a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendResult {
    Sent,
    /// The attempt failed, and another one follows.
    Again,
    /// The attempt failed, and none follows.
    Dead,
}

/// The result of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookResult {
    Accepted,
    /// The job existed already.
    Duplicate,
    /// The event makes no job.
    Ignored,
    Refused,
    /// The job could not be stored.
    Failed,
}

/// The daemon's counters, and the heartbeats of its loops. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    attempts: IntCounter,
    waits: Histogram,
    stages: HistogramVec,
    steps: IntCounterVec,
    webhooks: IntCounterVec,
    notifications: IntCounterVec,
    removed: IntCounterVec,
    secret_refusals: IntCounter,
    log_bytes: IntGauge,
    /// Heartbeat of the loop that claims jobs.
    pub queue: Heartbeat,
    /// Heartbeat of the loop that sends notifications.
    pub outbox: Heartbeat,
    /// Heartbeat of the loop that takes connections.
    pub http: Heartbeat,
}

impl Metrics {
    /// # Errors
    /// A name that Prometheus does not take.
    pub fn new() -> prometheus::Result<Self> {
        let buckets = |opts: HistogramOpts| opts.buckets(BUCKETS.into());
        let metrics = Self {
            registry: Registry::new(),
            attempts: IntCounter::new("image_factory_job_attempts_total", "Attempts at jobs that were begun.")?,
            waits: Histogram::with_opts(buckets(HistogramOpts::new(
                "image_factory_queue_wait_seconds",
                "How long jobs were pending before their first attempt.",
            )))?,
            stages: HistogramVec::new(
                buckets(HistogramOpts::new(
                    "image_factory_stage_duration_seconds",
                    "How long stages ran, by how they ended.",
                )),
                &["stage", "status"],
            )?,
            steps: IntCounterVec::new(
                Opts::new(
                    "image_factory_build_steps_total",
                    "Steps of BuildKit builds that ended well, by whether the cache had them (cached) or not (run).",
                ),
                &["result"],
            )?,
            webhooks: IntCounterVec::new(
                Opts::new("image_factory_webhooks_total", "Webhooks, by what came of them."),
                &["result"],
            )?,
            notifications: IntCounterVec::new(
                Opts::new("image_factory_notification_tries_total", "Tries to send a notification, by how they ended."),
                &["channel", "result"],
            )?,
            removed: IntCounterVec::new(
                Opts::new(
                    "image_factory_removed_total",
                    "What retention has removed: jobs by JOB_KEEP, logs by LOG_KEEP.",
                ),
                &["what"],
            )?,
            secret_refusals: IntCounter::new(
                "image_factory_secret_refusals_total",
                "Requests and jobs that were refused because they had a secret of this daemon; many may be guesses.",
            )?,
            log_bytes: IntGauge::new(
                "image_factory_log_bytes",
                "Size of all logs of jobs, at the last look of retention.",
            )?,
            queue: Heartbeat::default(),
            outbox: Heartbeat::default(),
            http: Heartbeat::default(),
        };
        metrics.registry.register(Box::new(metrics.attempts.clone()))?;
        metrics.registry.register(Box::new(metrics.waits.clone()))?;
        metrics.registry.register(Box::new(metrics.stages.clone()))?;
        metrics.registry.register(Box::new(metrics.steps.clone()))?;
        metrics.registry.register(Box::new(metrics.webhooks.clone()))?;
        metrics.registry.register(Box::new(metrics.notifications.clone()))?;
        metrics.registry.register(Box::new(metrics.removed.clone()))?;
        metrics.registry.register(Box::new(metrics.secret_refusals.clone()))?;
        metrics.registry.register(Box::new(metrics.log_bytes.clone()))?;
        // Prometheus sees a counter's first step only if the counter is there before it.
        metrics.build_steps(0, 0);
        metrics.jobs_removed(0);
        metrics.logs_removed(0);
        for result in [
            WebhookResult::Accepted,
            WebhookResult::Duplicate,
            WebhookResult::Ignored,
            WebhookResult::Refused,
            WebhookResult::Failed,
        ] {
            metrics.webhooks.with_label_values(&[result.as_str()]).inc_by(0);
        }
        Ok(metrics)
    }

    /// Counts an attempt at a job that begins. A first attempt has the time that the job waited.
    pub fn attempt(&self, waited: Option<Duration>) {
        self.attempts.inc();
        if let Some(waited) = waited {
            self.waits.observe(waited.as_secs_f64());
        }
    }

    /// Records how long a stage ran.
    pub fn stage(&self, stage: StageName, status: StageStatus, took: Duration) {
        self.stages.with_label_values(&[stage.as_str(), status.as_str()]).observe(took.as_secs_f64());
    }

    /// Counts the steps of a build that has ended.
    pub fn build_steps(&self, cached: u64, run: u64) {
        self.steps.with_label_values(&["cached"]).inc_by(cached);
        self.steps.with_label_values(&["run"]).inc_by(run);
    }

    /// Counts a webhook.
    pub fn webhook(&self, result: WebhookResult) {
        self.webhooks.with_label_values(&[result.as_str()]).inc();
    }

    /// Counts jobs that retention has deleted.
    pub fn jobs_removed(&self, count: u64) {
        self.removed.with_label_values(&["jobs"]).inc_by(count);
    }

    /// Counts logs that retention has removed.
    pub fn logs_removed(&self, count: u64) {
        self.removed.with_label_values(&["logs"]).inc_by(count);
    }

    /// Counts a request or a job that had a secret.
    pub fn secret_refused(&self) {
        self.secret_refusals.inc();
    }

    /// Sets the size of all logs.
    pub fn log_bytes(&self, bytes: u64) {
        self.log_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts an attempt to send a notification.
    pub fn notification(&self, channel: &str, result: SendResult) {
        self.notifications.with_label_values(&[channel, result.as_str()]).inc();
    }

    /// Returns the loops' heartbeats by name.
    pub fn heartbeats(&self) -> [(&'static str, &Heartbeat); 3] {
        [("queue", &self.queue), ("outbox", &self.outbox), ("http", &self.http)]
    }

    /// Writes the counters and the scrape's metrics in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    /// Two families of one name.
    pub fn text(&self, scrape: &Scrape) -> prometheus::Result<String> {
        let mut families = self.registry.gather();
        families.extend(scrape.families());
        TextEncoder::new().encode_to_string(&families)
    }
}

impl WebhookResult {
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl SendResult {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Again => "again",
            Self::Dead => "dead",
        }
    }
}
