use std::fs;
use std::time::Duration;

use anyhow::Context as _;

use super::engine;
use super::git::repo_case;
use crate::metrics::Metrics;
use crate::queue::{Priorities, QueueConfig, Rules, Waits};
use crate::settings::Settings;

/// Time for which a claim lasts unless it is renewed.
const LEASE: Duration = Duration::from_secs(60);

/// Returns the configuration of the queue.
///
/// # Errors
/// PRIORITIES or the engines cannot be used.
pub fn config(settings: &Settings, metrics: &Metrics) -> anyhow::Result<QueueConfig> {
    Ok(QueueConfig {
        concurrency: engine::concurrency(settings)?,
        // The store's lock gives a data folder to one daemon, so the jobs that this name holds at the start are its own.
        node: "local".into(),
        boot: boot_id(),
        lease: LEASE,
        drain: settings.drain_timeout,
        rules: rules(settings)?,
        waits: Waits::default(),
        heart: metrics.queue.clone(),
    })
}

/// Returns the id that the kernel has had since the machine was started; empty where it cannot be read.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Returns the rules that decide about the place of a job in the queue.
pub fn rules(settings: &Settings) -> anyhow::Result<Rules> {
    Ok(Rules {
        priorities: Priorities::new(&settings.priorities.0, repo_case(settings))
            .context("PRIORITIES cannot be used")?,
        supersede: settings.supersede,
    })
}
