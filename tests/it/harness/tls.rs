use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::listen;

/// TLS before the engine's socket, for those who show a certificate of the authority, on a thread of its own.
pub struct TlsFront {
    pub port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl TlsFront {
    /// `certs`: the server's, from [`super::Authority::docker_certs`]; `engine`: `unix:///path`.
    pub fn start(certs: &Path, engine: &str) -> Self {
        let certificate = |name: &str| CertificateDer::from_pem_file(certs.join(name)).unwrap();
        let mut authorities = RootCertStore::empty();
        authorities.add(certificate("ca.pem")).unwrap();
        let provider = Arc::new(default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(authorities.into(), provider.clone()).build().unwrap();
        let key = PrivateKeyDer::from_pem_file(certs.join("key.pem")).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate("cert.pem")], key)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let listener = listen();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = engine.strip_prefix("unix://").expect("an engine on a socket").to_owned();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let serve = async {
                    loop {
                        let (client, _) = listener.accept().await.unwrap();
                        let (acceptor, socket) = (acceptor.clone(), socket.clone());
                        tokio::spawn(async move {
                            let Ok(mut client) = acceptor.accept(client).await else { return };
                            let mut engine = UnixStream::connect(socket).await.unwrap();
                            let _ = tokio::io::copy_bidirectional(&mut client, &mut engine).await;
                        });
                    }
                };
                tokio::select! {
                    () = serve => {}
                    _ = stopped => {}
                }
            });
        });
        Self { port, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
