//! Sets what is missing after an outage: a status that died in the outbox, or one that was never there.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::github::{CHANNEL, GitHub, TIMEOUT, refused, rows};
use super::status::CommitStatus;
use crate::model::{JobId, Millis};
use crate::notify::NotifyConfig;
use crate::notify::send_error::Failure;
use crate::store::{Store, StoreError};

const PAUSE: Duration = Duration::from_secs(15 * 60);
/// What ended longer ago is left alone.
const WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many commits are asked for in one round: with four rounds an hour 8 % of the requests that GitHub allows.
const MOST: usize = 100;
/// How many jobs are read at once.
const PAGE: u32 = 100;

/// Looks at the start, every 15 minutes, and when GitHub answers again, for jobs whose outcome it does not have, and puts
/// that into the outbox. Ends only if there is no GitHub.
pub async fn reconcile(store: Store, config: NotifyConfig) {
    let Some(github) = config.github.clone() else { return };
    let mut reconciler = Reconciler { store, config, github, refusing: HashSet::new() };
    // A restart may have brought another token, so what was refused is tried once more.
    let mut also_refused = true;
    loop {
        match reconciler.round(also_refused).await {
            Ok(0) => {}
            Ok(missing) => tracing::info!(missing, "GitHub lacked statuses: they are sent again"),
            Err(Trouble::GitHub(Failure { error, .. })) => {
                tracing::warn!(error, "GitHub cannot be asked which statuses it has");
            }
            Err(Trouble::Store(error)) => tracing::warn!(%error, "what GitHub lacks cannot be looked for"),
        }
        also_refused = false;
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = reconciler.github.api.recovered() => {}
        }
    }
}

enum Trouble {
    Store(StoreError),
    GitHub(Failure),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

struct Reconciler {
    store: Store,
    config: NotifyConfig,
    github: Arc<GitHub>,
    /// Repositories that our token may not see: they are not asked for again before the next start.
    refusing: HashSet<String>,
}

impl Reconciler {
    /// How many statuses were missing. What is not looked at in this round is in the next one.
    async fn round(&mut self, also_refused: bool) -> Result<usize, Trouble> {
        let since = Millis(Millis::now().0 - WINDOW.as_millis() as i64);
        let (mut asked, mut missing) = (0, 0);
        let mut lanes = HashSet::new();
        let mut before = None;
        self.store.mark_reported(CHANNEL, since).await?;
        loop {
            let jobs = self.store.unreported(CHANNEL, since, also_refused, before, PAGE).await?;
            let is_last = jobs.len() < PAGE as usize;
            before = jobs.last().map(|job| job.id);
            for job in jobs {
                // Newest first: an older one of the same lane would undo it.
                let status = CommitStatus::of(&job).filter(|status| lanes.insert(status.lane()));
                let Some(status) = status else {
                    self.store.status_reported(job.id).await?;
                    continue;
                };
                if self.refusing.contains(&status.repo) {
                    continue;
                }
                if asked == MOST {
                    return Ok(missing);
                }
                asked += 1;
                match self.github.has(job.id, &status).await {
                    Ok(true) => self.store.status_reported(job.id).await?,
                    Ok(false) => {
                        for row in rows(&self.config, &job) {
                            missing += usize::from(self.store.requeue_status(&job, row).await?);
                        }
                    }
                    Err(failure) if failure.permanent => {
                        tracing::warn!(job = %job.id, error = failure.error, "a commit's statuses cannot be had");
                        self.refusing.insert(status.repo);
                    }
                    Err(failure) => return Err(Trouble::GitHub(failure)),
                }
            }
            if is_last {
                return Ok(missing);
            }
        }
    }
}

impl GitHub {
    /// Whether GitHub shows this status, or that of a later job; or has no such commit, and so no use for one.
    async fn has(&self, job: JobId, status: &CommitStatus) -> Result<bool, Failure> {
        let repo = status.repo()?;
        let path = format!("/repos/{}/{}/commits/{}/status?per_page=100", repo.owner(), repo.name(), status.sha);
        let call = timeout(TIMEOUT, self.call(&repo, Method::GET, &path, None)).await;
        let late = |_| Failure { error: "GitHub did not answer in time".into(), permanent: false, retry_after: None };
        let answer = call.map_err(late)??;
        match answer.status {
            status if status.is_success() => {}
            StatusCode::UNPROCESSABLE_ENTITY => return Ok(true),
            _ => return Err(refused(&repo, &answer)),
        }
        let mut shown = answer.body["statuses"].as_array().into_iter().flatten();
        let shown = shown.find(|shown| shown["context"] == status.context.as_str());
        Ok(shown.is_some_and(|shown| self.is_settled(job, status, shown)))
    }

    fn is_settled(&self, job: JobId, status: &CommitStatus, shown: &Value) -> bool {
        let target = shown["target_url"].as_str().unwrap_or_default();
        if target == self.target(job) {
            return shown["state"] == json!(status.state);
        }
        let other = target.strip_prefix(&self.base_url).and_then(|path| path.strip_prefix("/job/")?.parse().ok());
        // Ids sort by the time of their making.
        other.is_some_and(|other: JobId| other > job)
    }
}
