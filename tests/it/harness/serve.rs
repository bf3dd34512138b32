use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::listen;

/// A server of the test's own, on a thread and a runtime of its own, so that it answers also while
/// the test waits for a program.
pub struct Served {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    pub fn start(router: axum::Router) -> Self {
        Self::start_on(listen(), router)
    }

    pub fn start_on(listener: std::net::TcpListener, router: axum::Router) -> Self {
        Self::serve(listener, async |listener| axum::serve(listener, router).await.unwrap())
    }

    /// The same by TLS.
    pub fn start_tls(router: axum::Router, config: Arc<rustls::ServerConfig>) -> Self {
        Self::serve(listen(), async |listener| {
            axum::serve(Tls { listener, acceptor: config.into() }, router).await.unwrap();
        })
    }

    fn serve(listener: std::net::TcpListener, serve: impl AsyncFnOnce(TcpListener) + Send + 'static) -> Self {
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = serve(listener) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, stop: Some(stop), thread: Some(thread) }
    }
}

/// Handshakes one after another: a test has few clients.
struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, peer) = self.listener.accept().await.unwrap();
            // A client that does not trust the certificate closes the connection.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A client that follows no redirect. (rustls wants a provider, also where only http is spoken.)
pub fn http_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The daemon closes a connection after 30 idle seconds, and a test that waits for a program does not notice it.
    let idle = std::time::Duration::from_secs(20);
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    client.pool_idle_timeout(idle).build().unwrap()
}
