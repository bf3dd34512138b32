use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::folder;
use super::keys::succeed;

/// Who signs certificates, by openssl.
pub struct Authority {
    dir: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let authority = Self { dir: folder() };
        let mut openssl = openssl(&["req", "-x509", "-nodes", "-subj", "/CN=Test CA", "-days", "2"]);
        openssl.args(NEW_KEY).arg("-keyout").arg(authority.path("key.pem")).arg("-out").arg(authority.path("ca.pem"));
        succeed(&mut openssl, b"");
        authority
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A folder as DOCKER_CERT_PATH has it. `usage`: `serverAuth` or `clientAuth`; `name`: a subjectAltName, such as
    /// `IP:127.0.0.1`; valid for `days`, where -1 has expired.
    pub fn issue(&self, usage: &str, name: &str, days: i32) -> TempDir {
        let dir = folder();
        let at = |name: &str| dir.path().join(name);
        let mut request = openssl(&["req", "-nodes", "-subj", "/CN=test"]);
        request.args(NEW_KEY).arg("-keyout").arg(at("key.pem"));
        for extension in [
            format!("subjectAltName={name}"),
            format!("extendedKeyUsage={usage}"),
            "basicConstraints=critical,CA:FALSE".into(),
        ] {
            request.args(["-addext", &extension]);
        }
        let request = succeed(&mut request, b"").stdout;
        let mut sign = openssl(&["x509", "-req", "-copy_extensions", "copy", "-days", &days.to_string()]);
        sign.arg("-CA").arg(self.path("ca.pem")).arg("-CAkey").arg(self.path("key.pem"));
        succeed(sign.arg("-out").arg(at("cert.pem")), &request);
        std::fs::copy(self.path("ca.pem"), at("ca.pem")).unwrap();
        dir
    }
}

const NEW_KEY: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];

fn openssl(args: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(args).stderr(Stdio::null());
    command
}

/// TLS before the engine's socket, for those who show a certificate of the authority, on a thread of its own.
pub struct TlsFront {
    pub port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl TlsFront {
    /// `certs`: the server's, from [`Authority::issue`]; `engine`: `unix:///path`.
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

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
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
