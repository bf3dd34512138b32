//! The order in which a ref named its commits, as far as fetches and pushes tell.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use serde::Deserialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, query};

use super::{Store, StoreError};
use crate::model::{CommitSpec, Millis, RefUpdate, RepoRef};

/// At most this many refs of a repository are watched: those whose heads changed last.
const WATCHED: u32 = 200;
/// The number of a branch's newest jobs that are read for its pushes.
const FAR: u32 = 1000;
/// The time for which a head is kept after it was seen last. Later the remote is asked instead.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// At most this many rows are deleted at once: webhooks wait for these 2 ms at most.
const BATCH: u32 = 200;

impl Store {
    /// The greatest number of a fetch that found anything.
    pub async fn newest_fetch(&self) -> Result<u64, StoreError> {
        let row = query("SELECT COALESCE(MAX(seq), 0) FROM ref_heads").fetch_one(&self.readers).await;
        row.and_then(|row| row.try_get::<i64, _>(0)).map(|seq| seq as u64).map_err(|e| self.explain(e))
    }

    /// The refs of a repository whose heads are noted, and each one's newest head.
    pub async fn watched_refs(&self, repository: &str) -> Result<BTreeMap<String, String>, StoreError> {
        let rows = query(
            "SELECT git_ref, commit_id FROM ref_heads WHERE repository = $1 AND newest = 1 ORDER BY seq DESC LIMIT $2",
        );
        let rows = rows.bind(repository.to_owned()).bind(WATCHED).fetch_all(&self.readers).await;
        let pairs = |rows: Vec<SqliteRow>| rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect();
        rows.and_then(pairs).map_err(|e| self.explain(e))
    }

    /// Notes the heads of refs of a repository, as the fetch of this number found them.
    pub async fn saw_heads(
        &self,
        repository: &str,
        seq: u64,
        heads: BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        let (repository, seen) = (repository.to_owned(), Millis::now().0);
        self.write(move |conn| {
            async move {
                for (git_ref, commit) in heads {
                    query("UPDATE ref_heads SET newest = 0 WHERE repository = $1 AND git_ref = $2 AND newest = 1")
                        .bind(repository.clone())
                        .bind(git_ref.clone())
                        .execute(&mut *conn)
                        .await?;
                    // Two fetches may be noted in another order than they were made.
                    query(
                        "INSERT INTO ref_heads (repository, git_ref, commit_id, seq, seen, newest) \
                         VALUES ($1, $2, $3, $4, $5, 1) ON CONFLICT (repository, git_ref, commit_id) DO UPDATE SET \
                         seq = CASE WHEN seq < excluded.seq THEN excluded.seq ELSE seq END, seen = excluded.seen, newest = 1",
                    )
                    .bind(repository.clone())
                    .bind(git_ref)
                    .bind(commit)
                    .bind(seq as i64)
                    .bind(seen)
                    .execute(&mut *conn)
                    .await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }

    /// The number of the last fetch that found the ref to name each of two commits.
    pub async fn last_seen(&self, of: &RepoRef, commits: [&str; 2]) -> Result<[Option<u64>; 2], StoreError> {
        let [one, other] = commits;
        let rows = query(
            "SELECT commit_id, seq FROM ref_heads WHERE repository = $1 AND git_ref = $2 AND commit_id IN ($3, $4)",
        );
        let rows =
            rows.bind(of.repository.clone()).bind(of.git_ref.clone()).bind(one.to_owned()).bind(other.to_owned());
        let found = async {
            let mut seen = [None; 2];
            for row in rows.fetch_all(&self.readers).await? {
                let (commit, seq) = (row.try_get::<String, _>(0)?, row.try_get::<i64, _>(1)? as u64);
                for (seen, _) in seen.iter_mut().zip(commits).filter(|(_, wanted)| *wanted == commit) {
                    *seen = Some(seq);
                }
            }
            Ok(seen)
        };
        found.await.map_err(|e: sqlx::Error| self.explain(e))
    }

    /// The pushes of a ref among its newest 1,000 jobs, whatever SUPERSEDE is.
    pub async fn pushes(&self, of: &RepoRef) -> Result<Vec<RefUpdate>, StoreError> {
        #[derive(Deserialize)]
        struct Pushed {
            commit: String,
        }
        let branch = ["refs/heads/", "refs/tags/"].iter().find_map(|kind| of.git_ref.strip_prefix(kind));
        let rows = query(
            "SELECT before, context FROM (SELECT before, context, git_ref FROM jobs WHERE repository = $1 \
             AND branch = $2 ORDER BY id DESC LIMIT $4) AS newest WHERE git_ref = $3 AND before IS NOT NULL",
        );
        let rows = rows.bind(of.repository.clone()).bind(branch.unwrap_or(&of.git_ref).to_owned());
        let found = async {
            let mut pushes = Vec::new();
            for row in rows.bind(of.git_ref.clone()).bind(FAR).fetch_all(&self.readers).await? {
                let Pushed { commit } =
                    serde_json::from_str(row.try_get(1)?).map_err(|e| sqlx::Error::Decode(e.into()))?;
                let ends = (CommitSpec::parse(row.try_get(0)?), CommitSpec::parse(&commit));
                // A ref that is new was nothing before: 40 zeros.
                if let (Ok(CommitSpec::Full(before)), Ok(CommitSpec::Full(after))) = ends
                    && !before.is_zero()
                {
                    pushes.push(RefUpdate { before, after });
                }
            }
            Ok(pushes)
        };
        found.await.map_err(|e: sqlx::Error| self.explain(e))
    }

    /// Deletes some heads that were seen more than 30 days ago for the last time, and says how many.
    pub async fn forget_heads(&self, now: Millis) -> Result<u64, StoreError> {
        let oldest = now.0 - KEPT.as_millis() as i64;
        self.write(move |conn| {
            async move {
                let done = query(
                    "DELETE FROM ref_heads WHERE (repository, git_ref, commit_id) IN \
                     (SELECT repository, git_ref, commit_id FROM ref_heads WHERE seen < $1 ORDER BY seen LIMIT $2)",
                );
                Ok(done.bind(oldest).bind(BATCH).execute(conn).await?.rows_affected())
            }
            .boxed()
        })
        .await
    }
}
