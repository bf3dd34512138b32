//! What is counted and timed where it happens, and shown to Prometheus. A label's values are few: no repository and no
//! job is one.

mod heartbeat;
mod process;
mod scrape;

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};

use crate::model::{StageName, StageStatus};
pub use heartbeat::Heart;
pub use scrape::{Kind, Page};

/// Seconds: from a checkout of 50 ms to a build of an hour.
const BUCKETS: [f64; 13] = [0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 3600.0];

/// How a try to send a notification ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    Sent,
    /// It failed and is tried again.
    Again,
    Dead,
}

/// What came of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Webhook {
    Accepted,
    /// The job was there already.
    Duplicate,
    /// An event that makes no job.
    Ignored,
    Refused,
    /// It could not be stored.
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
    /// Of the loop that claims jobs.
    pub queue: Heart,
    /// Of the loop that sends notifications.
    pub outbox: Heart,
    /// Of the loop that takes connections.
    pub http: Heart,
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
            queue: Heart::default(),
            outbox: Heart::default(),
            http: Heart::default(),
        };
        metrics.registry.register(Box::new(metrics.attempts.clone()))?;
        metrics.registry.register(Box::new(metrics.waits.clone()))?;
        metrics.registry.register(Box::new(metrics.stages.clone()))?;
        metrics.registry.register(Box::new(metrics.steps.clone()))?;
        metrics.registry.register(Box::new(metrics.webhooks.clone()))?;
        metrics.registry.register(Box::new(metrics.notifications.clone()))?;
        // A counter that is there from the start shows its first step, too.
        metrics.build_steps(0, 0);
        for result in [Webhook::Accepted, Webhook::Duplicate, Webhook::Ignored, Webhook::Refused, Webhook::Failed] {
            metrics.webhooks.with_label_values(&[result.as_str()]).inc_by(0);
        }
        Ok(metrics)
    }

    /// An attempt at a job begins; `waited` if it is the first.
    pub fn attempt(&self, waited: Option<Duration>) {
        self.attempts.inc();
        if let Some(waited) = waited {
            self.waits.observe(waited.as_secs_f64());
        }
    }

    pub fn stage(&self, stage: StageName, status: StageStatus, took: Duration) {
        self.stages.with_label_values(&[stage.as_str(), status.as_str()]).observe(took.as_secs_f64());
    }

    /// The steps of a build that has ended.
    pub fn build_steps(&self, cached: u64, run: u64) {
        self.steps.with_label_values(&["cached"]).inc_by(cached);
        self.steps.with_label_values(&["run"]).inc_by(run);
    }

    pub fn webhook(&self, result: Webhook) {
        self.webhooks.with_label_values(&[result.as_str()]).inc();
    }

    pub fn notification(&self, channel: &str, result: Sending) {
        self.notifications.with_label_values(&[channel, result.as_str()]).inc();
    }

    /// The loops by name.
    pub fn hearts(&self) -> [(&'static str, &Heart); 3] {
        [("queue", &self.queue), ("outbox", &self.outbox), ("http", &self.http)]
    }

    /// All of it and what is in `page`, in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    /// Two families of one name.
    pub fn text(&self, page: &Page) -> prometheus::Result<String> {
        let mut families = self.registry.gather();
        families.extend(page.families());
        TextEncoder::new().encode_to_string(&families)
    }
}

impl Webhook {
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

impl Sending {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Again => "again",
            Self::Dead => "dead",
        }
    }
}
