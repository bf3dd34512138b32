//! Sets the statuses that are missing after an outage: one that died in the outbox, or one that was never in it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::github::GitHub;
use super::status::{CHANNEL, CommitStatus};
use crate::model::Millis;
use crate::notify::send_error::SendError;
use crate::store::{Store, StoreError};

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_secs(15 * 60);
/// The age of the oldest job that is looked at, counted from its end.
const WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);
/// The most commits that are looked up in one round. Four rounds an hour then take 8 % of the requests that GitHub
/// allows.
const LOOKUPS: usize = 100;
/// The number of jobs that are read from the store at once.
const PAGE: u32 = 100;

/// Puts outcomes that GitHub lacks into the outbox. It looks for them at the start, every 15 minutes, and when GitHub
/// answers again after an outage. It never ends.
pub(super) async fn reconcile(store: Store, github: Arc<GitHub>) {
    let mut reconciler = Reconciler { store, github, refusing: HashSet::new() };
    // Refused statuses are retried once after a start, because it may have brought another token.
    let mut also_refused = true;
    loop {
        match reconciler.round(also_refused).await {
            Ok(0) => {}
            Ok(missing) => tracing::info!(missing, "GitHub lacked statuses: they are sent again"),
            Err(ReconcileError::GitHub(SendError { message: error, .. })) => {
                tracing::warn!(error, "GitHub cannot be asked which statuses it has: trying again in 15 minutes");
            }
            Err(ReconcileError::Store(error)) => {
                tracing::warn!(%error, "missing statuses cannot be looked for: trying again in 15 minutes");
            }
        }
        also_refused = false;
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = reconciler.github.recovered() => {}
        }
    }
}

enum ReconcileError {
    Store(StoreError),
    GitHub(SendError),
}

impl From<StoreError> for ReconcileError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

struct Reconciler {
    store: Store,
    github: Arc<GitHub>,
    /// Repositories that our token may not see. They are not looked up again before the next start.
    refusing: HashSet<String>,
}

impl Reconciler {
    /// Returns how many statuses were missing. Jobs beyond the limit of lookups are left to the next round.
    async fn round(&mut self, also_refused: bool) -> Result<usize, ReconcileError> {
        let since = Millis(Millis::now().0 - WINDOW.as_millis() as i64);
        let (mut lookups, mut missing) = (0, 0);
        let mut lanes = HashSet::new();
        let mut before = None;
        self.store.mark_reported(CHANNEL, since).await?;
        loop {
            let jobs = self.store.unreported(CHANNEL, since, also_refused, before, PAGE).await?;
            let is_last = jobs.len() < PAGE as usize;
            before = jobs.last().map(|job| job.id);
            for job in jobs {
                // The newest job of a lane comes first, and the status of an older one would undo its.
                let status = CommitStatus::of(&job).filter(|status| lanes.insert(status.lane()));
                let Some(status) = status else {
                    self.store.status_reported(job.id).await?;
                    continue;
                };
                if self.refusing.contains(&status.repo) {
                    continue;
                }
                if lookups == LOOKUPS {
                    return Ok(missing);
                }
                lookups += 1;
                match self.github.has(job.id, &status).await {
                    Ok(true) => self.store.status_reported(job.id).await?,
                    Ok(false) => {
                        let row = status.row(self.github.host());
                        missing += usize::from(self.store.requeue_status(&job, row).await?);
                    }
                    Err(error) if error.is_permanent => {
                        tracing::warn!(job = %job.id, error = error.message, "a commit's statuses cannot be read");
                        self.refusing.insert(status.repo);
                    }
                    Err(error) => return Err(ReconcileError::GitHub(error)),
                }
            }
            if is_last {
                return Ok(missing);
            }
        }
    }
}
