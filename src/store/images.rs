//! Which repository has pushed which image, and by which of its Dockerfiles.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Row, query};

use super::sqlite::{Fault, explain};
use super::{Store, StoreError};
use crate::model::{ImageRef, Job, JobContext, Status};

/// The number of other users of an image that are named.
const NAMED: u32 = 5;

/// An image that several repositories have pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedImage {
    /// `registry/path`
    pub image: String,
    /// `owner/repo` in lower case; two at least.
    pub repositories: Vec<String>,
}

impl Store {
    /// The repositories, five at most, that have pushed the image of this job beside its own.
    pub async fn other_users(&self, job: &Job) -> Result<Vec<String>, StoreError> {
        let rows = query(
            "SELECT repository FROM image_users WHERE image = $1 AND repository <> $2 ORDER BY repository LIMIT $3",
        )
        .bind(key(&job.image))
        .bind(job.repository.clone())
        .bind(NAMED)
        .fetch_all(&self.readers)
        .await;
        rows.and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect()).map_err(|e| self.explain(e))
    }

    /// The images that several repositories have pushed, read beside a daemon that may run: no lock is taken, and nothing is
    /// written. None are known before the first start, and of a daemon that is older than their table.
    pub async fn shared_images(data_dir: &Path) -> Result<Vec<SharedImage>, StoreError> {
        let file = data_dir.join("image-factory.db");
        if !file.exists() {
            return Ok(Vec::new());
        }
        read_shared(&file).await.map_err(|e| explain(&e, &file))
    }
}

async fn read_shared(file: &Path) -> Result<Vec<SharedImage>, sqlx::Error> {
    // Without its log nobody writes the database, and SQLite would make the log's files to read it.
    let is_at_rest = !file.with_extension("db-wal").exists();
    let options = SqliteConnectOptions::new().filename(file).read_only(true).immutable(is_at_rest);
    let mut conn = options.disable_statement_logging().connect().await?;
    let is_there = query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'image_users'");
    if is_there.fetch_optional(&mut conn).await?.is_none() {
        return Ok(Vec::new());
    }
    let rows = query(
        "SELECT image, repository FROM image_users WHERE image IN \
         (SELECT image FROM image_users GROUP BY image HAVING COUNT(*) > 1) ORDER BY image, repository",
    );
    let mut shared: Vec<SharedImage> = Vec::new();
    for row in rows.fetch_all(&mut conn).await? {
        let (image, repository): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        match shared.last_mut() {
            Some(last) if last.image == image => last.repositories.push(repository),
            _ => shared.push(SharedImage { image, repositories: vec![repository] }),
        }
    }
    Ok(shared)
}

/// Gives a job that is to be stored its alternative image if another Dockerfile of its repository has the first one: has
/// pushed it, or waits or runs to do so. A name that this Dockerfile has pushed stays its own.
pub(super) async fn choose(
    conn: &mut SqliteConnection,
    job: &mut Job,
    alternative: Option<String>,
) -> Result<(), Fault> {
    let Some(alternative) = alternative else { return Ok(()) };
    let (first, second) = (key(&job.image), key(&alternative));
    let (mine, repository) = (dockerfile(&job.context), job.repository.clone());
    let mut is_taken = false;
    let rows = query("SELECT image, dockerfile FROM image_users WHERE repository = $1 AND image IN ($2, $3)")
        .bind(repository.clone())
        .bind(first.clone())
        .bind(second.clone())
        .fetch_all(&mut *conn)
        .await?;
    for row in &rows {
        let (image, user): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        match (image == first, user == mine) {
            (true, true) => return Ok(()),
            (true, false) | (false, true) => is_taken = true,
            (false, false) => {}
        }
    }
    if is_taken || is_awaited(conn, &repository, &first, &second, &mine).await? {
        job.image = alternative;
    }
    Ok(())
}

/// True if a job that has not ended is to push the first image by another Dockerfile, or the second one by this.
async fn is_awaited(
    conn: &mut SqliteConnection,
    repository: &str,
    first: &str,
    second: &str,
    mine: &str,
) -> Result<bool, Fault> {
    // Each part has an index of its own.
    let rows = query(
        "SELECT image, context FROM jobs WHERE repository = $1 AND status = 'pending' AND not_before = 0 \
         UNION ALL SELECT image, context FROM jobs \
         WHERE repository = $1 AND status = 'pending' AND not_before > 0 \
         UNION ALL SELECT image, context FROM jobs WHERE repository = $1 AND status = 'running'",
    )
    .bind(repository.to_owned())
    .fetch_all(&mut *conn)
    .await?;
    for row in &rows {
        let image = key(row.try_get(0)?);
        if image == first || image == second {
            let context = JobContext::read(row.try_get(1)?)?;
            // The first image counts against this job if it is another Dockerfile's, the second if it is this one's.
            if (dockerfile(&context) == mine) == (image == second) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Notes that a job's repository has pushed its image, in the transaction of its outcome. The first Dockerfile keeps the
/// name, because who builds it again expects it there; a request that names the image pushes to it all the same.
pub(super) async fn record(conn: &mut SqliteConnection, job: &Job) -> Result<(), Fault> {
    if job.status != Status::Success && job.tags.iter().all(|tag| tag.digest.is_none()) {
        return Ok(());
    }
    query(
        "INSERT INTO image_users (image, repository, dockerfile) VALUES ($1, $2, $3) \
         ON CONFLICT (image, repository) DO NOTHING",
    )
    .bind(key(&job.image))
    .bind(job.repository.clone())
    .bind(dockerfile(&job.context))
    .execute(conn)
    .await?;
    Ok(())
}

/// One text for an image, whatever its tag and however it is written.
fn key(image: &str) -> String {
    ImageRef::parse(image).map_or_else(|_| image.into(), |image| image.canonical())
}

/// Tells the Dockerfiles of a repository apart: a path, or empty for the Dockerfile of the settings. Of a job that names its
/// context alone it is Docker's own name in that folder.
fn dockerfile(context: &JobContext) -> String {
    let options = context.build_options().unwrap_or_default();
    let folder =
        || options.context.as_ref().filter(|folder| !folder.is_root()).map(|folder| format!("{folder}/Dockerfile"));
    options.dockerfile.as_ref().map(ToString::to_string).or_else(folder).unwrap_or_default()
}
