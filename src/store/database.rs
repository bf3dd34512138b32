use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, query};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StoreError;
use super::sqlite::{Commits, Fault, Op, Work, Writer, explain, migrate, take_lock};
use crate::model::{Millis, RepoCase};

/// How long [`Store::ping`] waits.
const PING: Duration = Duration::from_secs(2);

/// Tells what time it is.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// The database of one data folder, `DATA_DIR/image-factory.db`. Clones share it.
#[derive(Clone)]
pub struct Store {
    file: Arc<Path>,
    ops: mpsc::Sender<Op>,
    pub(super) readers: SqlitePool,
    pub(super) notified: Arc<Notify>,
    clock: Clock,
    /// REPO_CONCURRENCY
    pub(super) repo_concurrency: u32,
    /// The rule that the keys of repositories are written by.
    pub(super) repo_case: RepoCase,
    closing: CancellationToken,
    writer: TaskTracker,
    commits: Arc<Commits>,
}

impl Store {
    /// Opens the data folder's database; makes both if they are not there. Takes the folder's lock: a second daemon is
    /// refused.
    pub async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let lock = take_lock(data_dir)?;
        let file: Arc<Path> = data_dir.join("image-factory.db").into();
        // SQLite would make it readable for all; its companions -wal and -shm get this file's mode.
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&file)
            .and_then(|f| f.set_permissions(Permissions::from_mode(0o600)))
            // Its name must outlive a power failure too; of its companions' SQLite takes care.
            .and_then(|()| File::open(data_dir)?.sync_all())
            .map_err(|e| StoreError::Folder { folder: data_dir.display().to_string(), cause: e.to_string() })?;
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .disable_statement_logging();
        let mut conn = options.connect().await.map_err(|e| explain(&e, &file))?;
        migrate(&mut conn, &file).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(2)
            .test_before_acquire(false)
            .connect_lazy_with(options.clone().read_only(true));

        let (ops, queue) = mpsc::channel(1024);
        let (closing, writer) = (CancellationToken::new(), TaskTracker::new());
        let commits = Arc::new(Commits::default());
        let run = Writer {
            options,
            file: file.clone(),
            conn: Some(conn),
            ops: queue,
            closing: closing.clone(),
            commits: commits.clone(),
            lock,
        };
        writer.spawn(run.run());
        writer.close();
        let (notified, clock) = (Arc::default(), Arc::new(Millis::now));
        let (repo_concurrency, repo_case) = (0, RepoCase::default());
        Ok(Self { file, ops, readers, notified, clock, repo_concurrency, repo_case, closing, writer, commits })
    }

    /// With another clock for the outbox, whose rows wait for hours.
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// From now on no more jobs of one repository are claimed than run at once; 0: as many as there are slots.
    pub fn with_repo_concurrency(self, most: u32) -> Self {
        Self { repo_concurrency: most, ..self }
    }

    /// The time that the outbox goes by.
    pub fn now(&self) -> Millis {
        (self.clock)()
    }

    /// Writes what was asked for before, then lets go of the database and of the folder's lock. What comes later gets
    /// [`StoreError::Closed`].
    pub async fn close(&self) {
        self.readers.close().await;
        self.closing.cancel();
        self.writer.wait().await;
    }

    /// Proves that a write becomes durable, within 2 s. Costs one fsync, shared with all that waits.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let write = self.enqueue(false, |conn| {
            query("INSERT INTO pulse (id, at) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET at = excluded.at")
                .bind(Millis::now().0)
                .execute(conn)
                .map(|done| done.map(drop).map_err(Fault::from))
                .boxed()
        });
        let slow = |_| StoreError::Slow { file: self.file.display().to_string(), seconds: PING.as_secs() };
        tokio::time::timeout(PING, write).await.map_err(slow)?
    }

    /// How many transactions were written since the start, and how long that took in all.
    pub fn commits(&self) -> (u64, Duration) {
        self.commits.read()
    }

    /// Has the writer do it, all or nothing; its value comes when it is durable. What was enqueued is done, also when
    /// the caller is gone.
    pub(super) async fn write<T, F>(&self, op: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Fault>> + Send + 'static,
    {
        self.enqueue(true, op).await
    }

    /// Without a savepoint for what comes often: it would be 40 % of the costs (83 µs of CPU time against 48).
    pub(super) async fn enqueue<T, F>(&self, savepoint: bool, op: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Fault>> + Send + 'static,
    {
        let (value, result) = oneshot::channel();
        let (done, durable) = oneshot::channel();
        let work: Work = Box::new(move |conn| {
            async move {
                let _ = value.send(op(conn).await?);
                Ok(())
            }
            .boxed()
        });
        self.ops.send(Op { work, savepoint, done }).await.map_err(|_| StoreError::Closed)?;
        durable.await.map_err(|_| StoreError::Closed)??;
        result.await.map_err(|_| StoreError::Closed)
    }

    pub(super) fn explain(&self, fault: impl Into<Fault>) -> StoreError {
        fault.into().at(&self.file)
    }
}
