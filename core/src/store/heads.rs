//! The order in which a ref named its commits, as far as fetches and pushes show it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Store, StoreError};
use crate::model::{CommitSpec, Millis, RefUpdate, RepoRef};

/// The number of refs of a repository that are watched: those whose heads changed last.
const WATCHED: u32 = 200;
/// The number of a branch's newest jobs that are read for its pushes.
const SEARCHED: u32 = 1000;
/// The time for which a head is kept after it was seen last. Later the remote is asked instead.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The number of heads that one write deletes, because webhooks wait for these 2 ms.
const BATCH: u32 = 200;

impl Store {
    /// Returns the greatest number of a fetch that found anything.
    pub async fn newest_fetch(&self) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT COALESCE(MAX(seq), 0) FROM ref_heads";
        let newest = self.read(|conn| conn.first(SQL, &[], |row| row.get::<_, i64>(0))).await?;
        Ok(newest.unwrap_or_default() as u64)
    }

    /// Returns the refs of a repository whose heads are stored, and each one's newest head.
    pub async fn watched_refs(&self, repository: &str) -> Result<BTreeMap<String, String>, StoreError> {
        const SQL: &str =
            "SELECT git_ref, commit_id FROM ref_heads WHERE repository = $1 AND newest = 1 ORDER BY seq DESC LIMIT $2";
        let repository = repository.to_owned();
        let heads = self.read(move |conn| {
            conn.all(SQL, &[&repository, &WATCHED], |row| Ok((row.get("git_ref")?, row.get("commit_id")?)))
        });
        Ok(heads.await?.into_iter().collect())
    }

    /// Stores the heads of refs of a repository, as the fetch of this number found them.
    pub async fn saw_heads(
        &self,
        repository: &str,
        seq: u64,
        heads: BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        let (repository, seq, seen) = (repository.to_owned(), seq as i64, Millis::now());
        self.write(move |conn| {
            for (git_ref, commit) in heads {
                conn.execute(
                    "UPDATE ref_heads SET newest = 0 WHERE repository = $1 AND git_ref = $2 AND newest = 1",
                    &[&repository, &git_ref],
                )?;
                // Two fetches may be stored in another order than they were made, so the greater number stays.
                conn.execute(
                    "INSERT INTO ref_heads (repository, git_ref, commit_id, seq, seen, newest) \
                     VALUES ($1, $2, $3, $4, $5, 1) ON CONFLICT (repository, git_ref, commit_id) DO UPDATE SET \
                     seq = CASE WHEN seq < excluded.seq THEN excluded.seq ELSE seq END, seen = excluded.seen, newest = 1",
                    &[&repository, &git_ref, &commit, &seq, &seen],
                )?;
            }
            Ok(())
        })
        .await
    }

    /// Returns, for each of two commits, the number of the last fetch that found the ref to name it.
    pub async fn last_seen(&self, of: &RepoRef, commits: [&str; 2]) -> Result<[Option<u64>; 2], StoreError> {
        const SQL: &str = "SELECT seq FROM ref_heads WHERE repository = $1 AND git_ref = $2 AND commit_id = $3";
        let (of, commits) = (of.clone(), commits.map(str::to_owned));
        self.read(move |conn| {
            let mut seen = [None; 2];
            for (seen, commit) in seen.iter_mut().zip(commits) {
                let seq = conn.first(SQL, &[&of.repository, &of.git_ref, &commit], |row| row.get::<_, i64>("seq"))?;
                *seen = seq.map(|seq| seq as u64);
            }
            Ok(seen)
        })
        .await
    }

    /// Returns the pushes of a ref among its newest 1,000 jobs, whatever SUPERSEDE is.
    pub async fn pushes(&self, of: &RepoRef) -> Result<Vec<RefUpdate>, StoreError> {
        let branch = ["refs/heads/", "refs/tags/"].iter().find_map(|kind| of.git_ref.strip_prefix(kind));
        let (branch, of) = (branch.unwrap_or(&of.git_ref).to_owned(), of.clone());
        let pushes = self.read(move |conn| {
            conn.all(
                "SELECT before, context ->> 'commit' AS after FROM (SELECT before, context, git_ref FROM jobs \
                 WHERE repository = $1 AND branch = $2 ORDER BY id DESC LIMIT $4) AS newest \
                 WHERE git_ref = $3 AND before IS NOT NULL",
                &[&of.repository, &branch, &of.git_ref, &SEARCHED],
                |row| Ok((row.get::<_, String>("before")?, row.get::<_, String>("after")?)),
            )
        });
        let push = |(before, after): (String, String)| match (CommitSpec::parse(&before), CommitSpec::parse(&after)) {
            // A new ref named nothing before, which is written as 40 zeros.
            (Ok(CommitSpec::Full(before)), Ok(CommitSpec::Full(after))) if !before.is_zero() => {
                Some(RefUpdate { before, after })
            }
            _ => None,
        };
        Ok(pushes.await?.into_iter().filter_map(push).collect())
    }

    /// Deletes some heads that were seen last more than 30 days ago, and returns their number.
    pub async fn delete_old_heads(&self, now: Millis) -> Result<u64, StoreError> {
        let oldest = now.0 - KEPT.as_millis() as i64;
        self.write(move |conn| {
            let deleted = conn.execute(
                "DELETE FROM ref_heads WHERE (repository, git_ref, commit_id) IN \
                 (SELECT repository, git_ref, commit_id FROM ref_heads WHERE seen < $1 ORDER BY seen LIMIT $2)",
                &[&oldest, &BATCH],
            )?;
            Ok(deleted as u64)
        })
        .await
    }
}
