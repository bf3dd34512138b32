use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::StoreError;
use super::outbox::Announce;
use super::sqlite::{self, CommitStats, Op, Readers, SqlConnection, StoreFault, StoreWriter, WriteRequest};
use crate::model::{Millis, RepoCase};

/// The time that [`Store::ping`] waits.
const PING: Duration = Duration::from_secs(2);

/// Returns the present time.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// The database of one data folder, `DATA_DIR/image-factory.db`. Clones share it.
#[derive(Clone)]
pub struct Store {
    file: Arc<Path>,
    requests: mpsc::Sender<WriteRequest>,
    readers: Arc<Readers>,
    /// Wakes the sender of notifications.
    pub(super) notified: Arc<Notify>,
    clock: Clock,
    /// Makes the notifications of a job that starts or ends.
    pub(super) announce: Announce,
    /// REPO_CONCURRENCY
    pub(super) repo_concurrency: u32,
    /// The rule by which the keys of repositories are written.
    pub(super) repo_case: RepoCase,
    writer_ended: CancellationToken,
    commits: Arc<CommitStats>,
}

impl Store {
    /// Opens the data folder's database, and makes both if they do not exist. Takes the folder's lock, so that a second
    /// daemon is refused.
    pub async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let data_dir = data_dir.to_owned();
        spawn_blocking(move || Self::open_now(&data_dir)).await.unwrap_or(Err(StoreError::Closed))
    }

    fn open_now(data_dir: &Path) -> Result<Self, StoreError> {
        let unusable = |e: std::io::Error| StoreError::folder(data_dir, &e);
        let lock = sqlite::lock(data_dir)?;
        let file: Arc<Path> = data_dir.join("image-factory.db").into();
        // SQLite would make the file readable for all. Its companions -wal and -shm get this file's mode.
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&file)
            .and_then(|f| f.set_permissions(Permissions::from_mode(0o600)))
            // The file's name must outlive a power failure too. SQLite takes care of its companions.
            .and_then(|()| File::open(data_dir)?.sync_all())
            .map_err(unusable)?;
        let conn = SqlConnection::open(&file).map_err(|e| sqlite::explain(&e, &file))?;
        sqlite::migrate(&conn, &file)?;
        let readers = Arc::new(Readers::new(file.clone()));
        let (requests, received) = mpsc::channel(1024);
        let writer_ended = CancellationToken::new();
        let commits = Arc::new(CommitStats::default());
        let writer = StoreWriter {
            file: file.clone(),
            conn: Some(conn),
            requests: received,
            commits: commits.clone(),
            lock,
            ended: writer_ended.clone().drop_guard(),
        };
        writer.start().map_err(unusable)?;
        Ok(Self {
            file,
            requests,
            readers,
            notified: Arc::default(),
            clock: Arc::new(Millis::now),
            announce: Arc::new(|_, _| Vec::new()),
            repo_concurrency: 0,
            repo_case: RepoCase::default(),
            writer_ended,
            commits,
        })
    }

    /// Sets what is announced of jobs that start or end; nothing unless it is set.
    pub fn with_announce(self, announce: Announce) -> Self {
        Self { announce, ..self }
    }

    /// Sets another clock for the outbox, whose rows wait for hours.
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Sets how many jobs of one repository may run at once; 0 sets no limit.
    pub fn with_repo_concurrency(self, most: u32) -> Self {
        Self { repo_concurrency: most, ..self }
    }

    /// Returns the time by the outbox's clock.
    pub fn now(&self) -> Millis {
        (self.clock)()
    }

    /// Completes the writes that were asked for before, then releases the database and the folder's lock. Later calls
    /// get [`StoreError::Closed`].
    pub async fn close(&self) {
        self.readers.close().await;
        let _ = self.requests.send(WriteRequest::Close).await;
        self.writer_ended.cancelled().await;
    }

    /// Proves that a write becomes durable within 2 s. Costs one fsync, which it shares with all writes that wait.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let write = self.write_unsaved(|conn| {
            conn.execute(
                "INSERT INTO pulse (id, at) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET at = excluded.at",
                &[&Millis::now()],
            )?;
            Ok(())
        });
        let slow = |_| StoreError::Slow { file: self.file.display().to_string(), seconds: PING.as_secs() };
        tokio::time::timeout(PING, write).await.map_err(slow)?
    }

    /// Returns the number of transactions since the start, and the time that they took together.
    pub fn commits(&self) -> (u64, Duration) {
        self.commits.read()
    }

    /// Runs an operation that writes, all or nothing. Its value comes when it is durable. The operation is completed even
    /// if the caller is gone.
    pub(super) async fn write<T, F>(&self, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&SqlConnection) -> Result<T, StoreFault> + Send + 'static,
    {
        self.submit(Op::new(true, run)).await
    }

    /// Runs an operation that writes, without a savepoint, because a savepoint costs more than a webhook's own
    /// statements. The operation must refuse before it writes.
    pub(super) async fn write_unsaved<T, F>(&self, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&SqlConnection) -> Result<T, StoreFault> + Send + 'static,
    {
        self.submit(Op::new(false, run)).await
    }

    async fn submit<T>(
        &self,
        (op, answer): (Op, tokio::sync::oneshot::Receiver<Result<T, StoreError>>),
    ) -> Result<T, StoreError> {
        self.requests.send(WriteRequest::Write(op)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs an operation that reads only.
    pub(super) async fn read<T, F>(&self, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&SqlConnection) -> Result<T, StoreFault> + Send + 'static,
    {
        self.readers.read(run).await
    }
}
