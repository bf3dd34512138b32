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

use super::errors::{Fault, explain};
use crate::store::StoreError;

/// How many operations share one transaction at most: the first of them waits for the work of the others (20 µs each).
pub(in crate::store) const BATCH: usize = 256;

pub(in crate::store) type Work =
    Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<(), Fault>> + Send>;

/// One operation. It is answered when it is durable.
pub(in crate::store) struct Op {
    /// Makes it all or nothing. Without one it must refuse before it writes, and an SQL error fails the transaction.
    pub(in crate::store) savepoint: bool,
    pub(in crate::store) work: Work,
    pub(in crate::store) done: oneshot::Sender<Result<(), StoreError>>,
}

/// The transactions that were written.
#[derive(Default)]
pub(in crate::store) struct Commits {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Commits {
    pub(in crate::store) fn read(&self) -> (u64, Duration) {
        (self.count.load(Relaxed), Duration::from_nanos(self.nanos.load(Relaxed)))
    }
}

/// The only one that writes to the database. Everything that waits goes into one transaction, because what a commit
/// costs is its fsync (0.2–10 ms), whatever is in it.
pub(in crate::store) struct Writer {
    pub(in crate::store) options: SqliteConnectOptions,
    pub(in crate::store) file: Arc<Path>,
    /// None after an error: a new connection owes nothing to what broke the old one.
    pub(in crate::store) conn: Option<SqliteConnection>,
    pub(in crate::store) ops: mpsc::Receiver<Op>,
    pub(in crate::store) closing: CancellationToken,
    pub(in crate::store) commits: Arc<Commits>,
    /// Held until the last write is done.
    pub(in crate::store) lock: File,
}

impl Writer {
    /// Works until the store is closed, or all its handles are gone.
    pub(in crate::store) async fn run(mut self) {
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
