//! The ledger of tags: the image that each was given last.

use std::time::Duration;

use futures_util::FutureExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, query};

use super::{Store, StoreError};
use crate::model::{CommitId, Millis, RepoRef, TagHolder};

/// The time for which a name that says its commit is kept: two jobs of one commit are seldom further apart.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// At most this many rows are deleted at once: webhooks wait for these 2 ms at most.
const BATCH: u32 = 200;

impl Store {
    /// The image that this tag, `registry/path:tag`, was given last.
    pub async fn tag_holder(&self, image: &str) -> Result<Option<TagHolder>, StoreError> {
        let row = query("SELECT commit_id, repository, git_ref, job, recipe, moving, named FROM tags WHERE image = $1");
        let row = row.bind(image.to_owned()).fetch_optional(&self.readers).await;
        row.and_then(|row| row.as_ref().map(read).transpose()).map(Option::flatten).map_err(|e| self.explain(e))
    }

    /// Notes that this image has the tag from now on.
    pub async fn give_tag(&self, image: &str, holder: &TagHolder) -> Result<(), StoreError> {
        let (image, TagHolder { commit, git_ref, job, recipe, moving, named }) = (image.to_owned(), holder.clone());
        let (repository, git_ref) = git_ref.map(|of| (of.repository, of.git_ref)).unzip();
        self.write(move |conn| {
            async move {
                query(
                    "INSERT INTO tags (image, commit_id, repository, git_ref, job, recipe, moving, given, named) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (image) DO UPDATE SET \
                     commit_id = excluded.commit_id, repository = excluded.repository, git_ref = excluded.git_ref, \
                     job = excluded.job, recipe = excluded.recipe, moving = excluded.moving, given = excluded.given, \
                     named = excluded.named",
                )
                .bind(image)
                .bind(commit.to_string())
                .bind(repository)
                .bind(git_ref)
                .bind(job.map(|job| job.to_string()))
                .bind(recipe)
                .bind(moving)
                .bind(Millis::now().0)
                .bind(named)
                .execute(conn)
                .await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }

    /// Deletes some names that name their commit and were given more than 30 days ago, and says how many. Tags that move
    /// stay: their number is that of the branches.
    pub async fn forget_tags(&self, now: Millis) -> Result<u64, StoreError> {
        let oldest = now.0 - KEPT.as_millis() as i64;
        self.write(move |conn| {
            async move {
                let done = query(
                    "DELETE FROM tags WHERE image IN (SELECT image FROM tags WHERE moving = 0 AND given < $1 LIMIT $2)",
                );
                Ok(done.bind(oldest).bind(BATCH).execute(conn).await?.rows_affected())
            }
            .boxed()
        })
        .await
    }
}

/// Reads a row. `None` stands for a row whose commit is no id, because it says nothing about which image is newer.
fn read(row: &SqliteRow) -> Result<Option<TagHolder>, sqlx::Error> {
    let Some(commit) = CommitId::read_stored(row.try_get(0)?) else { return Ok(None) };
    let (repository, git_ref): (Option<String>, Option<String>) = (row.try_get(1)?, row.try_get(2)?);
    let git_ref = repository.zip(git_ref).map(|(repository, git_ref)| RepoRef { repository, git_ref });
    let job = row.try_get::<Option<&str>, _>(3)?.map(str::parse).transpose();
    let job = job.map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
    let (moving, named) = (row.try_get::<i64, _>(5)? != 0, row.try_get::<i64, _>(6)? != 0);
    Ok(Some(TagHolder { commit, git_ref, job, recipe: row.try_get(4)?, moving, named }))
}
