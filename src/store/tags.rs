use futures_util::FutureExt;
use sqlx::{Row, query};

use super::{Store, StoreError};

impl Store {
    /// The commit that this tag of an image, `registry/name:tag`, was last given.
    pub async fn tag_holder(&self, image: &str) -> Result<Option<String>, StoreError> {
        let row = query("SELECT commit_id FROM tags WHERE image = $1").bind(image.to_owned());
        let row = row.fetch_optional(&self.readers).await;
        row.and_then(|row| row.map(|row| row.try_get(0)).transpose()).map_err(|e| self.explain(e))
    }

    /// From now on this commit has the tag.
    pub async fn hold_tag(&self, image: &str, commit: &str) -> Result<(), StoreError> {
        let (image, commit) = (image.to_owned(), commit.to_owned());
        self.write(move |conn| {
            async move {
                query(
                    "INSERT INTO tags (image, commit_id) VALUES ($1, $2) \
                     ON CONFLICT (image) DO UPDATE SET commit_id = excluded.commit_id",
                )
                .bind(image)
                .bind(commit)
                .execute(conn)
                .await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }
}
