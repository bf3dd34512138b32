//! Serves connections: plain ones, TLS and those of a Unix socket.

mod certificate;
mod connection;
mod incoming;
mod listener;
mod places;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Heartbeat;
use connection::Connection;
use incoming::ConnectionSource;
use places::KeptPlace;

pub use certificate::{FilesState, ServerCertificate};
pub use listener::Listener;
pub use places::{FollowerPlace, Places, keep_for_urgent};

/// Time for a request's headers, and for a connection to be idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a connection that has a kept place.
const KEPT_HEADER_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection's read buffer, and so the limit of its headers. hyper's own 400 KB would be 1.6 GB for all connections.
const MAX_BUFFER: usize = 64 << 10;
/// Time for answers to end after the shutdown. Followed logs are cut then, and their readers come back with a `Range`.
const GRACE: Duration = Duration::from_secs(5);

/// The listening socket, the certificate that it shows if it speaks TLS, and the places of its connections.
pub struct Serving {
    pub listener: Listener,
    pub certificate: Option<Arc<ServerCertificate>>,
    pub places: Arc<Places>,
}

/// Serves until `shutdown`, and answers under way for `GRACE` longer. `axum::serve` is not used because it bounds
/// neither the time for headers nor the connections.
///
/// # Errors
/// TLS cannot be used at all.
pub async fn serve(
    Serving { listener, certificate, places }: Serving,
    router: Router,
    heart: Heartbeat,
    shutdown: CancellationToken,
) -> Result<(), rustls::Error> {
    let mut http = http1::Builder::new();
    // Names go out in title case, as Node sent them, because scripts look for `^Link: ` with grep.
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_BUFFER).title_case_headers(true);
    let mut kept_http = http.clone();
    kept_http.header_read_timeout(KEPT_HEADER_TIMEOUT).keep_alive(false);
    let kept_router = router.clone().layer(Extension(KeptPlace));
    let mut incoming = ConnectionSource::new(listener, certificate.map(ServerCertificate::config).transpose()?);
    let connections = TaskTracker::new();
    let mut next = async || {
        let stream = incoming.next().await;
        Some((stream, places.take().await?))
    };
    while let Some(Some((stream, place))) = shutdown.run_until_cancelled(heart.wait(next())).await {
        let (http, router) = if place.is_kept { (&kept_http, &kept_router) } else { (&http, &router) };
        let stream = TokioIo::new(Connection::new(stream, place, connections.token()));
        let connection = http.serve_connection(stream, TowerToHyperService::new(router.clone())).with_upgrades();
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            // An error is the peer's, which went away, was too slow or did not speak HTTP.
            let ended = shutdown.run_until_cancelled(connection.as_mut()).await;
            if ended.is_none() {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(GRACE, connection).await;
            }
        });
    }
    drop(incoming);
    connections.close();
    let _ = tokio::time::timeout(GRACE, connections.wait()).await;
    Ok(())
}
