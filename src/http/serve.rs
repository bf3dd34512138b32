use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Heartbeat;

/// For a request's headers; also how long a connection may be idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Half of what a process may usually open (1,024 files): the rest is for the store, Git and the engine. Who comes later
/// waits in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;
/// A connection's read buffer, and so what its headers may take. hyper's own 400 KB would be 200 MB for all of them.
const MAX_BUFFER: usize = 64 << 10;
/// Answers that are on their way may end; followed logs are then cut, and their readers come back with a `Range`.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until `shutdown`, and a moment longer what was being answered. `axum::serve` is not used because it bounds
/// neither the time for headers nor the connections.
pub async fn serve(mut listener: TcpListener, router: Router, heart: Heartbeat, shutdown: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_BUFFER);
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    let next = async |listener: &mut TcpListener| {
        let permit = room.clone().acquire_owned().await.ok()?;
        Some((permit, Listener::accept(listener).await.0))
    };
    while let Some(Some((permit, stream))) = shutdown.run_until_cancelled(heart.wait(next(&mut listener))).await {
        // Without it the last packet of an answer may wait 40 ms for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let shutdown = shutdown.clone();
        connections.spawn(async move {
            let mut connection = pin!(connection);
            // An error is the peer's: it went away, was too slow or spoke no HTTP.
            let ended = shutdown.run_until_cancelled(connection.as_mut()).await;
            if ended.is_none() {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(GRACE, connection).await;
            }
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}
