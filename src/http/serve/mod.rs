//! Serves connections: plain ones, TLS and those of a Unix socket.

mod admission;
mod certificate;
mod connection;
mod incoming;
mod listener;
mod places;
mod shares;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Heartbeat;
use connection::Connection;
use incoming::ConnectionSource;

pub use admission::admit;
pub use certificate::{FilesState, ServerCertificate};
pub use listener::Listener;
pub use places::{FollowerPlace, Places};
pub use shares::TrustedProxies;
#[cfg(fuzzing)]
pub use shares::fuzz as fuzz_forwarded;

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
    let tls = certificate.map(ServerCertificate::config).transpose()?;
    let mut incoming = ConnectionSource::new(listener, tls, places.proxies().clone());
    let connections = TaskTracker::new();
    let router = TowerToHyperService::new(router);
    let mut next = async || loop {
        let stream = incoming.next().await;
        // A peer with all of its places is left, which closes its connection.
        if let Some(place) = places.take(stream.peer()).await {
            return (stream, Arc::new(place));
        }
    };
    while let Some((stream, place)) = shutdown.run_until_cancelled(heart.wait(next())).await {
        let http = if place.kept.is_some() { &kept_http } else { &http };
        let displaced = place.kept.as_ref().map(|kept| kept.displaced.clone()).unwrap_or_default();
        let stream = TokioIo::new(Connection::new(stream, place.clone(), connections.token()));
        let router = router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(place.clone());
            router.call(request)
        });
        // A future that a task moves has room for it twice, and each of thousands of followers has a task.
        let mut connection = Box::pin(http.serve_connection(stream, service).with_upgrades());
        let shutdown = shutdown.clone();
        tokio::spawn(displaced.run_until_cancelled_owned(async move {
            // An error is the peer's, which went away, was too slow or did not speak HTTP.
            let ended = shutdown.run_until_cancelled(connection.as_mut()).await;
            if ended.is_none() {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(GRACE, connection).await;
            }
        }));
    }
    drop(incoming);
    connections.close();
    let _ = tokio::time::timeout(GRACE, connections.wait()).await;
    Ok(())
}
