//! The ledger of tags: the image that each tag was given last.

use std::time::Duration;

use rusqlite::Row;

use super::sqlite::commit;
use super::{Store, StoreError};
use crate::model::{Millis, RepoRef, TagHolder};

/// The time for which a tag that names its commit is kept, because two jobs of one commit are seldom further apart.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The number of tags that one write deletes, because webhooks wait for these 2 ms.
const BATCH: u32 = 200;

impl Store {
    /// Returns the image that this tag, `registry/path:tag`, was given last.
    pub async fn tag_holder(&self, image: &str) -> Result<Option<TagHolder>, StoreError> {
        const SQL: &str = "SELECT commit_id, repository, git_ref, job, recipe, moving, named, protected_ref FROM tags WHERE image = $1";
        let image = image.to_owned();
        self.read(move |conn| Ok(conn.first(SQL, &[&image], decode)?.flatten())).await
    }

    /// Stores that this image has the tag from now on.
    pub async fn give_tag(&self, image: &str, holder: &TagHolder) -> Result<(), StoreError> {
        let (image, TagHolder { commit, git_ref, job, recipe, moving, named, protected_ref }) =
            (image.to_owned(), holder.clone());
        let (repository, git_ref) = git_ref.map(|of| (of.repository, of.git_ref)).unzip();
        self.write(move |conn| {
            conn.execute(
                "INSERT INTO tags (image, commit_id, repository, git_ref, job, recipe, moving, given, named, \
                 protected_ref) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (image) DO UPDATE SET \
                 commit_id = excluded.commit_id, repository = excluded.repository, git_ref = excluded.git_ref, \
                 job = excluded.job, recipe = excluded.recipe, moving = excluded.moving, given = excluded.given, \
                 named = excluded.named, protected_ref = excluded.protected_ref",
                &[
                    &image,
                    &commit,
                    &repository,
                    &git_ref,
                    &job,
                    &recipe,
                    &moving,
                    &Millis::now(),
                    &named,
                    &protected_ref,
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// Deletes some tags that name their commit and were given more than 30 days ago, and returns their number. Tags that
    /// move stay, because there are only as many as branches, and tags of protected refs, because they stay protected.
    pub async fn delete_old_tags(&self, now: Millis) -> Result<u64, StoreError> {
        let oldest = now.0 - KEPT.as_millis() as i64;
        self.write(move |conn| {
            let deleted = conn.execute(
                "DELETE FROM tags WHERE image IN (SELECT image FROM tags WHERE moving = 0 AND protected_ref IS NULL AND given < $1 LIMIT $2)",
                &[&oldest, &BATCH],
            )?;
            Ok(deleted as u64)
        })
        .await
    }
}

/// Reads a row. `None` stands for a row whose commit is no id, because it says nothing about which image is newer.
fn decode(row: &Row) -> rusqlite::Result<Option<TagHolder>> {
    let Some(commit) = commit(row, "commit_id")? else { return Ok(None) };
    let (repository, git_ref): (Option<String>, Option<String>) = (row.get("repository")?, row.get("git_ref")?);
    Ok(Some(TagHolder {
        commit,
        git_ref: repository.zip(git_ref).map(|(repository, git_ref)| RepoRef { repository, git_ref }),
        job: row.get("job")?,
        recipe: row.get("recipe")?,
        moving: row.get("moving")?,
        named: row.get("named")?,
        protected_ref: row.get("protected_ref")?,
    }))
}
