use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::connection::SqlConnection;
use super::errors::StoreFault;
use crate::store::StoreError;

/// The number of connections that read at the same time.
const READERS: u32 = 2;

/// The connections that read beside the writer. Each is opened when it is needed first.
pub(in crate::store) struct Readers {
    file: Arc<Path>,
    idle: Mutex<Vec<SqlConnection>>,
    slots: Arc<Semaphore>,
}

impl Readers {
    pub(in crate::store) fn new(file: Arc<Path>) -> Self {
        Self { file, idle: Mutex::default(), slots: Arc::new(Semaphore::new(READERS as usize)) }
    }

    /// Runs `read` on a thread that may block.
    pub(in crate::store) async fn read<T, F>(self: &Arc<Self>, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&SqlConnection) -> Result<T, StoreFault> + Send + 'static,
    {
        let slot = self.slots.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let readers = self.clone();
        let done = spawn_blocking(move || {
            let idle = readers.idle().pop();
            let result = match idle.map_or_else(|| SqlConnection::open_read_only(&readers.file), Ok) {
                Ok(conn) => {
                    let result = read(&conn);
                    // A new connection has nothing of what broke the old one.
                    if !matches!(result, Err(StoreFault::Sql(_))) {
                        readers.idle().push(conn);
                    }
                    result
                }
                Err(error) => Err(error.into()),
            };
            drop(slot);
            result.map_err(|fault| fault.at(&readers.file))
        });
        match done.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(StoreError::Closed),
        }
    }

    /// Closes the connections, once those that read have done so.
    pub(in crate::store) async fn close(&self) {
        let _all = self.slots.acquire_many(READERS).await;
        self.slots.close();
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<SqlConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
