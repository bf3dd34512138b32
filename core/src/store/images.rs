//! The repositories that have pushed an image, and the Dockerfile of each.

use std::path::Path;

use super::sqlite::{SqlConnection, StoreFault, context};
use super::{Store, StoreError};
use crate::model::{ImageRef, Job, JobContext, Status};

/// The number of other users of an image that are named.
const NAMED: u32 = 5;

/// An image that several repositories have pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedImage {
    /// `registry/path`
    pub image: String,
    /// `owner/repo`, as `RepoName::key` spells it; at least two.
    pub repositories: Vec<String>,
}

impl Store {
    /// Returns at most five repositories that have pushed the image of this job beside its own.
    pub async fn other_users(&self, job: &Job) -> Result<Vec<String>, StoreError> {
        const SQL: &str =
            "SELECT repository FROM image_users WHERE image = $1 AND repository <> $2 ORDER BY repository LIMIT $3";
        let (image, repository) = (key(&job.image), job.repository.clone());
        self.read(move |conn| conn.all(SQL, &[&image, &repository, &NAMED], |row| row.get("repository"))).await
    }

    /// Gives an image's name to this repository unless another one has it, and returns the repository that has it from now
    /// on: the first that asked or, before names were recorded, that pushed. One that does not `exclude` this repository
    /// counts for nothing.
    pub async fn hold_name(
        &self,
        name: &str,
        repository: &str,
        excludes: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<String, StoreError> {
        let (image, mine) = (key(&format!("{name}:x")), repository.to_owned());
        self.write(move |conn| {
            let has_right = |holder: &String| *holder == mine || excludes(holder);
            let read = |row: &rusqlite::Row| row.get::<_, String>("repository");
            let holder = conn.first("SELECT repository FROM image_names WHERE image = $1", &[&image], read)?;
            if let Some(holder) = holder.filter(has_right) {
                return Ok(holder);
            }
            // The rows are in the order of the first pushes.
            let users =
                conn.all("SELECT repository FROM image_users WHERE image = $1 ORDER BY rowid", &[&image], read)?;
            let holder = users.into_iter().find(has_right).unwrap_or(mine.clone());
            conn.execute(
                "INSERT INTO image_names (image, repository) VALUES ($1, $2) \
                 ON CONFLICT (image) DO UPDATE SET repository = excluded.repository",
                &[&image, &holder],
            )?;
            Ok(holder)
        })
        .await
    }

    /// Returns the images that several repositories have pushed. Reads beside a daemon that may run: takes no lock, and
    /// writes nothing. There are none before the first start, and none if the database is older than their table.
    pub async fn shared_images(data_dir: &Path) -> Result<Vec<SharedImage>, StoreError> {
        let file = data_dir.join("image-factory.db");
        if !file.exists() {
            return Ok(Vec::new());
        }
        let read = move || read_shared(&file).map_err(|fault| fault.at(&file));
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(StoreError::Closed))
    }
}

fn read_shared(file: &Path) -> Result<Vec<SharedImage>, StoreFault> {
    // A database without its log is not being written, and SQLite would make the log's files to read it.
    let is_at_rest = !file.with_extension("db-wal").exists();
    let open = if is_at_rest { SqlConnection::open_immutable } else { SqlConnection::open_read_only };
    let conn = open(file)?;
    let table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'image_users'";
    if conn.first(table, &[], |_| Ok(()))?.is_none() {
        return Ok(Vec::new());
    }
    let rows = conn.all(
        "SELECT image, repository FROM image_users WHERE image IN \
         (SELECT image FROM image_users GROUP BY image HAVING COUNT(*) > 1) ORDER BY image, repository",
        &[],
        |row| Ok((row.get::<_, String>("image")?, row.get::<_, String>("repository")?)),
    )?;
    let mut shared: Vec<SharedImage> = Vec::new();
    for (image, repository) in rows {
        match shared.last_mut() {
            Some(last) if last.image == image => last.repositories.push(repository),
            _ => shared.push(SharedImage { image, repositories: vec![repository] }),
        }
    }
    Ok(shared)
}

/// Gives a job that is to be stored its alternative image if another Dockerfile of its repository has the first one: it
/// has pushed that image, or waits or runs to do so. A name that this Dockerfile has pushed stays its own.
pub(super) fn choose(conn: &SqlConnection, job: &mut Job, alternative: Option<String>) -> Result<(), StoreFault> {
    let Some(alternative) = alternative else { return Ok(()) };
    let (first, second) = (key(&job.image), key(&alternative));
    let (mine, repository) = (dockerfile(&job.context), job.repository.clone());
    let mut is_taken = false;
    let users = conn.all(
        "SELECT image, dockerfile FROM image_users WHERE repository = $1 AND image IN ($2, $3)",
        &[&repository, &first, &second],
        |row| Ok((row.get::<_, String>("image")?, row.get::<_, String>("dockerfile")?)),
    )?;
    for (image, user) in users {
        match (image == first, user == mine) {
            (true, true) => return Ok(()),
            (true, false) | (false, true) => is_taken = true,
            (false, false) => {}
        }
    }
    if is_taken || is_awaited(conn, &repository, &first, &second, &mine)? {
        job.image = alternative;
    }
    Ok(())
}

/// Returns true if a job that has not ended is to push the first image by another Dockerfile, or the second one by this.
fn is_awaited(
    conn: &SqlConnection,
    repository: &str,
    first: &str,
    second: &str,
    mine: &str,
) -> Result<bool, StoreFault> {
    // The union has three parts because each has an index of its own.
    let awaited = conn.all(
        "SELECT image, context FROM jobs WHERE repository = $1 AND status = 'pending' AND not_before = 0 \
         UNION ALL SELECT image, context FROM jobs \
         WHERE repository = $1 AND status = 'pending' AND not_before > 0 \
         UNION ALL SELECT image, context FROM jobs WHERE repository = $1 AND status = 'running'",
        &[&repository],
        |row| {
            let image = key(row.get_ref("image")?.as_str()?);
            if image != first && image != second {
                return Ok(false);
            }
            // The first image counts against this job if it is another Dockerfile's, the second if it is this one's.
            Ok((dockerfile(&context(row)?) == mine) == (image == second))
        },
    )?;
    Ok(awaited.contains(&true))
}

/// Stores that a job's repository has pushed its image, in the transaction of its outcome. The first Dockerfile keeps the
/// name, because who builds it again expects it there. A request that names the image pushes to it all the same.
pub(super) fn record(conn: &SqlConnection, job: &Job) -> Result<(), StoreFault> {
    let is_pushed = job.status == Status::Success && job.digest.is_some();
    if !is_pushed && job.tags.iter().all(|tag| tag.digest.is_none()) {
        return Ok(());
    }
    conn.execute(
        "INSERT INTO image_users (image, repository, dockerfile) VALUES ($1, $2, $3) \
         ON CONFLICT (image, repository) DO NOTHING",
        &[&key(&job.image), &job.repository.clone(), &dockerfile(&job.context)],
    )?;
    Ok(())
}

/// Returns one text for an image, whatever its tag and however it is written.
fn key(image: &str) -> String {
    ImageRef::parse(image).map_or_else(|_| image.into(), |image| image.canonical())
}

/// Returns the path of the job's Dockerfile, or an empty text for the Dockerfile of the settings. A job that names only its
/// context has Docker's own name in that folder.
fn dockerfile(context: &JobContext) -> String {
    let options = context.build_options().unwrap_or_default();
    let folder =
        || options.context.as_ref().filter(|folder| !folder.is_root()).map(|folder| format!("{folder}/Dockerfile"));
    options.dockerfile.as_ref().map(ToString::to_string).or_else(folder).unwrap_or_default()
}
