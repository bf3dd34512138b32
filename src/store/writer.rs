use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, query};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::StoreError;
use super::error::{Fault, explain};

/// How many operations share one transaction at most: the first of them waits for the work of the others (20 µs each).
pub(super) const BATCH: usize = 256;

pub(super) type Work = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<(), Fault>> + Send>;

/// One operation. It is answered when it is durable.
pub(super) struct Op {
    /// Makes it all or nothing. Without one it must refuse before it writes, and an SQL error fails the transaction.
    pub(super) savepoint: bool,
    pub(super) work: Work,
    pub(super) done: oneshot::Sender<Result<(), StoreError>>,
}

/// The transactions that were written.
#[derive(Default)]
pub(super) struct Commits {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Commits {
    pub(super) fn read(&self) -> (u64, Duration) {
        (self.count.load(Relaxed), Duration::from_nanos(self.nanos.load(Relaxed)))
    }
}

/// The only one that writes to the database. Everything that waits goes into one transaction, because what a commit
/// costs is its fsync (0.2–10 ms), whatever is in it.
pub(super) struct Writer {
    pub(super) options: SqliteConnectOptions,
    pub(super) file: Arc<Path>,
    /// None after an error: a new connection owes nothing to what broke the old one.
    pub(super) conn: Option<SqliteConnection>,
    pub(super) ops: mpsc::Receiver<Op>,
    pub(super) closing: CancellationToken,
    pub(super) commits: Arc<Commits>,
    /// Held until the last write is done.
    pub(super) lock: File,
}

impl Writer {
    /// Works until the store is closed, or all its handles are gone.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let waiting = tokio::select! {
                biased;
                () = self.closing.cancelled(), if !self.ops.is_closed() => {
                    self.ops.close();
                    continue;
                }
                n = self.ops.recv_many(&mut batch, BATCH) => n,
            };
            if waiting == 0 {
                break;
            }
            self.commit(&mut batch).await;
        }
        if let Some(conn) = self.conn {
            let _ = conn.close().await;
        }
        drop(self.lock);
    }

    async fn commit(&mut self, batch: &mut Vec<Op>) {
        let (works, done): (Vec<_>, Vec<_>) = batch.drain(..).map(|op| ((op.work, op.savepoint), op.done)).unzip();
        let begun = Instant::now();
        let written = self.transaction(works).await.inspect(|_| {
            self.commits.count.fetch_add(1, Relaxed);
            self.commits.nanos.fetch_add(begun.elapsed().as_nanos() as u64, Relaxed);
        });
        let results = written.unwrap_or_else(|error| {
            // Dropped, and with it what the transaction did: SQLite rolls back.
            self.conn = None;
            vec![Err(explain(&error, &self.file)); done.len()]
        });
        for (done, result) in done.into_iter().zip(results) {
            let _ = done.send(result);
        }
    }

    /// Each operation's own result; an error is the whole transaction's.
    async fn transaction(&mut self, works: Vec<(Work, bool)>) -> Result<Vec<Result<(), StoreError>>, sqlx::Error> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            none => none.insert(self.options.connect().await?),
        };
        let mut results = Vec::with_capacity(works.len());
        query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
        for (work, savepoint) in works {
            if savepoint {
                query("SAVEPOINT op").execute(&mut *conn).await?;
            }
            let result = match work(conn).await {
                Err(Fault::Sql(error)) if !savepoint => return Err(error),
                result => result.map_err(|fault| fault.at(&self.file)),
            };
            if savepoint && result.is_err() {
                query("ROLLBACK TO op").execute(&mut *conn).await?;
            }
            if savepoint {
                query("RELEASE op").execute(&mut *conn).await?;
            }
            results.push(result);
        }
        query("COMMIT").execute(conn).await?;
        Ok(results)
    }
}
