//! Deletes rows and logs whose time of retention is over.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::logs::{Logs, StoredLog};
use crate::metrics::Metrics;
use crate::model::Millis;
use crate::settings::{Days, JobKeep, LogKeep};
use crate::store::{Store, StoreError};

/// Pause after the last batch.
const PAUSE: Duration = Duration::from_secs(3600);
/// Pause between two batches, in which others can write.
const BATCH_PAUSE: Duration = Duration::from_millis(50);
/// Number of logs that are looked up in the store at once.
const LOOKUPS: usize = 200;

/// The rows and logs that are kept for a time.
pub struct Retention {
    pub store: Store,
    pub logs: Logs,
    pub metrics: Metrics,
    /// JOB_KEEP; `None` keeps jobs for ever.
    pub jobs: Option<JobKeep>,
    /// LOG_KEEP
    pub log_keep: LogKeep,
}

impl Retention {
    /// Deletes deliveries, heads of refs and names of commits that are older than 30 days, then old jobs and logs, each
    /// hour, in small batches. Runs until it is dropped.
    pub async fn run(self) {
        loop {
            let more = match self.batch().await {
                Ok(deleted) => deleted > 0,
                Err(error) => {
                    tracing::warn!(%error, "old rows cannot be deleted: trying again in an hour");
                    false
                }
            };
            if more {
                sleep(BATCH_PAUSE).await;
                continue;
            }
            if let Err(error) = self.sweep_logs(SystemTime::now()).await {
                tracing::warn!("old logs cannot be removed: {error:#}; trying again in an hour");
            }
            sleep(PAUSE).await;
        }
    }

    /// Deletes a batch of rows. Jobs come last, because deliveries refer to them.
    async fn batch(&self) -> Result<u64, StoreError> {
        let now = Millis::now();
        let deleted = self.store.delete_old_deliveries(now).await?
            + self.store.delete_old_heads(now).await?
            + self.store.delete_old_tags(now).await?;
        let Some(JobKeep(keep)) = self.jobs.filter(|_| deleted == 0) else { return Ok(deleted) };
        let jobs = self.store.delete_old_jobs(now, keep.duration()).await?;
        let (logs, gone) = (self.logs.clone(), jobs.clone());
        // The log of a job that is gone is found again by `sweep_logs` if it cannot be removed now.
        let _ = spawn_blocking(move || gone.into_iter().try_for_each(|job| logs.remove(job))).await;
        self.metrics.jobs_removed(jobs.len() as u64);
        Ok(jobs.len() as u64)
    }

    /// Removes the logs that are too old at this time, and the oldest ones while all together are too large. Logs without a
    /// job go, and logs that are needed stay.
    async fn sweep_logs(&self, now: SystemTime) -> anyhow::Result<()> {
        let logs = self.logs.clone();
        let stored = spawn_blocking(move || logs.stored()).await?.context("the folder of logs cannot be read")?;
        let mut bytes: u64 = stored.iter().map(|log| log.bytes).sum();
        let LogKeep { age, size } = self.log_keep;
        let is_older =
            |log: &StoredLog, age: Days| now.duration_since(log.changed).is_ok_and(|since| since > age.duration());
        let is_old = |log: &StoredLog| age.is_some_and(|age| is_older(log, age));
        let may_be_alone = |log: &StoredLog| self.jobs.is_some_and(|JobKeep(age)| is_older(log, age));
        let mut removed = 0;
        for chunk in stored.chunks(LOOKUPS) {
            let is_too_large = size.is_some_and(|size| bytes > size);
            let wanted: Vec<_> = chunk.iter().filter(|log| is_too_large || is_old(log) || may_be_alone(log)).collect();
            let known = self.store.logs_needed(wanted.iter().map(|log| log.job).collect()).await?;
            for log in wanted {
                let needed = known.iter().find(|(job, _)| *job == log.job).map(|(_, needed)| *needed);
                let is_over = is_old(log) || size.is_some_and(|size| bytes > size);
                let (logs, job) = (self.logs.clone(), log.job);
                let left = match needed {
                    None => spawn_blocking(move || logs.remove(job).map(|()| 0)).await?,
                    Some(false) if is_over && !log.is_note() => spawn_blocking(move || logs.drop_text(job)).await?,
                    Some(_) => continue,
                };
                bytes = bytes - log.bytes + left.with_context(|| format!("the log of job {job}"))?;
                removed += 1;
            }
        }
        self.metrics.logs_removed(removed);
        self.metrics.log_bytes(bytes);
        if removed > 0 {
            tracing::info!(removed, bytes, "old logs were removed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{JobContext, JobId, LogSink, NewJob};
    use crate::store::Added;

    async fn ended(store: &Store, repo: &str) -> JobId {
        let text = format!(
            r#"{{"owner":"acme","repo":"{repo}","branch":"develop","commit":"HEAD","github":true,
            "dockerRepoBase":"q","tag":"HEAD"}}"#
        );
        let context: JobContext = serde_json::from_str(&text).unwrap();
        let Added::New(job) = store.add_job(NewJob::new(context, "q/a:b".into()), None).await.unwrap() else {
            panic!()
        };
        store.cancel(job.id, "me").await.unwrap().id
    }

    #[tokio::test]
    async fn logs_go_by_age_and_size_and_a_branch_keeps_its_newest() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("data")).await.unwrap();
        let logs = Logs::open(dir.path().join("logs")).unwrap();
        let mut jobs = Vec::new();
        for repo in ["a", "b", "a", "a", "b"] {
            jobs.push(ended(&store, repo).await);
        }
        let alone = JobId::new();
        for job in jobs.iter().chain([&alone]) {
            logs.writer(*job).write(&[b'x'; 1000]);
        }
        let keep = |log_keep, jobs| Retention {
            store: store.clone(),
            logs: logs.clone(),
            metrics: Metrics::new().unwrap(),
            jobs,
            log_keep,
        };
        let whole = || {
            logs.stored().unwrap().into_iter().filter(|log| log.bytes == 1000).map(|log| log.job).collect::<Vec<_>>()
        };
        let all = [&jobs[..], &[alone]].concat();
        keep(LogKeep::default(), None).sweep_logs(SystemTime::now()).await.unwrap();
        assert_eq!(whole(), all, "without settings nothing goes");

        keep(LogKeep { age: None, size: Some(5500) }, None).sweep_logs(SystemTime::now()).await.unwrap();
        assert_eq!(whole(), jobs[1..], "the oldest goes, and one without a job");
        let first = logs.stored().unwrap()[0];
        assert!(first.is_note() && first.job == jobs[0], "a note stands in its place");

        let later = SystemTime::now() + Duration::from_secs(31 * 24 * 3600);
        keep(LogKeep { age: Some(Days(30)), size: None }, None).sweep_logs(later).await.unwrap();
        assert_eq!(whole(), jobs[3..], "the newest of each branch stays");
        let stored = logs.stored().unwrap();
        assert!(stored.len() == 5 && stored[..3].iter().all(StoredLog::is_note), "{stored:?}");
    }
}
