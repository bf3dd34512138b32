use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::DropGuard;

use super::connection::SqlConnection;
use super::errors::StoreFault;
use crate::store::StoreError;

/// The most operations that share one transaction: the first of them waits for the work of the others (20 µs each).
const BATCH: usize = 256;
/// The time that a transaction waits for further operations, if the one before had several. Clients that write at the same
/// time then share one transaction instead of two by turns, which halves the fsyncs and the pages for each operation.
const GATHER: Duration = Duration::from_micros(200);

/// A message to the writer.
pub(in crate::store) enum WriteRequest {
    Write(Op),
    /// The writer does what was asked for before, and ends.
    Close,
}

/// One operation. It is answered when it is durable.
pub(in crate::store) struct Op {
    /// A savepoint makes the operation all or nothing. An operation without one must refuse before it writes, and its
    /// SQL error fails the whole transaction.
    savepoint: bool,
    work: Box<dyn Work>,
}

impl Op {
    /// Returns the operation, and the channel by which its answer comes.
    pub(in crate::store) fn new<T, F>(savepoint: bool, run: F) -> (Self, oneshot::Receiver<Result<T, StoreError>>)
    where
        T: Send + 'static,
        F: FnOnce(&SqlConnection) -> Result<T, StoreFault> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        (Self { savepoint, work: Box::new(Typed { run: Some(run), value: None, answer }) }, answered)
    }
}

/// An operation whose type of value is hidden.
trait Work: Send {
    fn run(&mut self, conn: &SqlConnection) -> Result<(), StoreFault>;
    fn answer(self: Box<Self>, result: Result<(), StoreError>);
}

struct Typed<F, T> {
    run: Option<F>,
    value: Option<T>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Work for Typed<F, T>
where
    T: Send,
    F: FnOnce(&SqlConnection) -> Result<T, StoreFault> + Send,
{
    fn run(&mut self, conn: &SqlConnection) -> Result<(), StoreFault> {
        if let Some(run) = self.run.take() {
            self.value = Some(run(conn)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { value, answer, .. } = *self;
        let _ = answer.send(result.and_then(|()| value.ok_or(StoreError::Closed)));
    }
}

/// The number of transactions that were committed, and the time that they took.
#[derive(Default)]
pub(in crate::store) struct CommitStats {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl CommitStats {
    pub(in crate::store) fn read(&self) -> (u64, Duration) {
        (self.count.load(Relaxed), Duration::from_nanos(self.nanos.load(Relaxed)))
    }
}

/// The only part that writes to the database, on a thread of its own. All operations that wait go into one transaction,
/// because the cost of a commit is its fsync (0.2–10 ms), whatever the transaction holds.
pub(in crate::store) struct StoreWriter {
    pub(in crate::store) file: Arc<Path>,
    /// None after an error: a new connection has nothing of what broke the old one.
    pub(in crate::store) conn: Option<SqlConnection>,
    pub(in crate::store) requests: mpsc::Receiver<WriteRequest>,
    pub(in crate::store) commits: Arc<CommitStats>,
    /// The data folder's lock, which is held until the last write is done.
    pub(in crate::store) lock: File,
    /// Signals the end of the thread.
    pub(in crate::store) ended: DropGuard,
}

impl StoreWriter {
    /// Starts the thread. It ends when the store is closed, or when all its handles are gone.
    pub(in crate::store) fn start(self) -> std::io::Result<()> {
        std::thread::Builder::new().name("store-writer".into()).spawn(|| self.run()).map(drop)
    }

    fn run(mut self) {
        let (mut requests, mut ops) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        let mut is_busy = false;
        while self.requests.blocking_recv_many(&mut requests, BATCH) > 0 {
            if is_busy {
                std::thread::sleep(GATHER);
                while requests.len() < BATCH
                    && let Ok(request) = self.requests.try_recv()
                {
                    requests.push(request);
                }
            }
            for request in requests.drain(..) {
                match request {
                    WriteRequest::Write(op) => ops.push(op),
                    WriteRequest::Close => self.requests.close(),
                }
            }
            is_busy = ops.len() > 1;
            self.commit(&mut ops);
        }
        drop(self.conn);
        drop(self.lock);
        drop(self.ended);
    }

    fn commit(&mut self, ops: &mut Vec<Op>) {
        if ops.is_empty() {
            return;
        }
        let begun = Instant::now();
        match self.transaction(ops) {
            Ok(results) => {
                self.commits.count.fetch_add(1, Relaxed);
                self.commits.nanos.fetch_add(begun.elapsed().as_nanos() as u64, Relaxed);
                for (op, result) in ops.drain(..).zip(results) {
                    op.work.answer(result);
                }
            }
            Err(fault) => {
                // SQLite rolls back what a connection that is closed did not commit.
                self.conn = None;
                let error = fault.at(&self.file);
                for op in ops.drain(..) {
                    op.work.answer(Err(error.clone()));
                }
            }
        }
    }

    /// Returns each operation's own result. An error is that of the whole transaction.
    fn transaction(&mut self, ops: &mut [Op]) -> Result<Vec<Result<(), StoreError>>, StoreFault> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            none => none.insert(SqlConnection::open(&self.file)?),
        };
        let mut results = Vec::with_capacity(ops.len());
        conn.execute("BEGIN IMMEDIATE", &[])?;
        for Op { savepoint, work } in ops {
            if *savepoint {
                conn.execute("SAVEPOINT op", &[])?;
            }
            let result = match work.run(conn) {
                Err(fault @ StoreFault::Sql(_)) if !*savepoint => return Err(fault),
                result => result.map_err(|fault| fault.at(&self.file)),
            };
            if *savepoint && result.is_err() {
                conn.execute("ROLLBACK TO op", &[])?;
            }
            if *savepoint {
                conn.execute("RELEASE op", &[])?;
            }
            results.push(result);
        }
        conn.execute("COMMIT", &[])?;
        Ok(results)
    }
}
