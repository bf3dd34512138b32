use super::rows::LAST_ID;
use crate::model::JobId;
use crate::store::{Store, StoreError};

/// The order in which the jobs that wait would run, if nothing changed.
#[derive(Debug, Clone, Default)]
pub struct QueueOrder {
    pub waiting: Vec<JobId>,
    /// Keys of the repositories that have as many running jobs as they may have.
    pub full: Vec<String>,
    pub running: u32,
}

impl Store {
    /// Returns the order of the queue: by priority, and in each priority the repositories in turn.
    pub async fn queue_order(&self) -> Result<QueueOrder, StoreError> {
        const WAITING: &str = "WITH ranked AS (SELECT id, repository, priority, \
             ROW_NUMBER() OVER (PARTITION BY repository, priority ORDER BY id) AS round \
             FROM jobs WHERE status = 'pending' AND not_before = 0) \
             SELECT ranked.id FROM ranked JOIN turns ON turns.repository = ranked.repository \
             AND turns.priority = ranked.priority \
             ORDER BY ranked.priority DESC, ranked.round, turns.turn, COALESCE(turns.since, $1)";
        const RUNNING: &str =
            "SELECT repository, COUNT(*) AS jobs FROM jobs WHERE status = 'running' GROUP BY repository";
        let most = self.repo_concurrency;
        self.read(move |conn| {
            let waiting = conn.all(WAITING, &[&LAST_ID], |row| row.get("id"))?;
            let running =
                conn.all(RUNNING, &[], |row| Ok((row.get::<_, String>("repository")?, row.get::<_, u32>("jobs")?)))?;
            let total = running.iter().map(|(_, jobs)| jobs).sum();
            let full = running.into_iter().filter(|(_, jobs)| most > 0 && i64::from(*jobs) >= i64::from(most));
            Ok(QueueOrder { waiting, full: full.map(|(repository, _)| repository).collect(), running: total })
        })
        .await
    }
}
