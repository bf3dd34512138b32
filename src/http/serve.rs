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

/// Time for a request's headers, and for a connection to be idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Half of the files that a process may usually open (1,024), because the store, Git and the engine need the rest. A later
/// connection waits in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;
/// A connection's read buffer, and so the limit of its headers. hyper's own 400 KB would be 200 MB for all connections.
const MAX_BUFFER: usize = 64 << 10;
/// Time for answers to end after the shutdown. Followed logs are cut then, and their readers come back with a `Range`.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until `shutdown`, and answers under way for `GRACE` longer. `axum::serve` is not used because it bounds
/// neither the time for headers nor the connections.
pub async fn serve(mut listener: TcpListener, router: Router, heart: Heartbeat, shutdown: CancellationToken) {
    let mut http = http1::Builder::new();
    // Names go out in title case, as Node sent them, because scripts look for `^Link: ` with grep.
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_BUFFER).title_case_headers(true);
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    let next = async |listener: &mut TcpListener| {
        let permit = room.clone().acquire_owned().await.ok()?;
        Some((permit, Listener::accept(listener).await.0))
    };
    while let Some(Some((permit, stream))) = shutdown.run_until_cancelled(heart.wait(next(&mut listener))).await {
        // Without TCP_NODELAY, the last packet of an answer may wait 40 ms for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let connection = connection.with_upgrades();
        let shutdown = shutdown.clone();
        connections.spawn(async move {
            let mut connection = pin!(connection);
            // An error is the peer's, which went away, was too slow or did not speak HTTP.
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
