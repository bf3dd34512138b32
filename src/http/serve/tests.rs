use std::process::Command;

use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::DropGuard;

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

fn openssl(dir: &TempDir, line: &str) {
    #[expect(clippy::disallowed_methods, reason = "a test makes its certificates by openssl")]
    let done = Command::new("openssl").args(line.split(' ')).current_dir(dir.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Makes `NAME.pem` and `NAME.key`.
fn pair(dir: &TempDir, name: &str) {
    openssl(
        dir,
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -addext \
             basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost -keyout {name}.key -out {name}.pem"
        ),
    );
}

fn join(dir: &TempDir, to: &str, parts: &[&str]) {
    let text: Vec<_> = parts.iter().map(|part| std::fs::read_to_string(dir.path().join(part)).unwrap()).collect();
    std::fs::write(dir.path().join(to), text.concat()).unwrap();
}

#[test]
fn files_that_cannot_be_used_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    pair(&dir, "a");
    pair(&dir, "b");
    openssl(&dir, "pkey -in a.key -aes256 -passout pass:secret -out locked.key");
    join(&dir, "both.pem", &["a.pem", "a.key"]);
    join(&dir, "swapped.pem", &["b.pem", "a.pem"]);
    join(&dir, "keys.pem", &["a.key", "b.key"]);
    std::fs::write(dir.path().join("empty"), "").unwrap();
    let read = |cert: &str, key: &str| ServerCertificate::read(&dir.path().join(cert), &dir.path().join(key));
    for (cert, key) in [("a.pem", "a.key"), ("both.pem", "both.pem")] {
        assert!(read(cert, key).is_ok(), "{cert}");
    }
    let mut refused = String::new();
    for (cert, key) in [
        ("none.pem", "a.key"),
        ("a.pem", "none.key"),
        ("empty", "a.key"),
        ("a.pem", "empty"),
        ("a.pem", "a.pem"),
        ("a.pem", "b.key"),
        ("swapped.pem", "a.key"),
        ("a.pem", "keys.pem"),
        ("a.pem", "locked.key"),
    ] {
        let why = read(cert, key).err().unwrap_or_else(|| panic!("{cert} and {key} are taken"));
        refused += &(why.replace(&format!("{}/", dir.path().display()), "") + "\n");
    }
    insta::assert_snapshot!(refused, @r"
    none.pem cannot be read (No such file or directory (os error 2)): it must be a PEM file
    none.key cannot be read (No such file or directory (os error 2)): it must be a PEM file
    empty has no certificate: put it there in PEM form
    empty has no private key: put it there in PEM form
    a.pem has no private key: put it there in PEM form
    b.key is not the key of a.pem: name two files that belong together
    swapped.pem has several certificates, and that of the key is not the first: move it there
    keys.pem has 2 private keys: keep that of the certificate
    locked.key has an encrypted key: `openssl pkey` writes it without a passphrase
    ");
}

struct Served {
    address: std::net::SocketAddr,
    certificate: Arc<ServerCertificate>,
    dir: TempDir,
    _stop: DropGuard,
}

/// Serves `/health` by TLS.
async fn served() -> Served {
    let dir = tempfile::tempdir().unwrap();
    pair(&dir, "a");
    let at = |name: &str| dir.path().join(name);
    let certificate = Arc::new(ServerCertificate::read(&at("a.pem"), &at("a.key")).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let router = Router::new().route("/health", axum::routing::get(async || "alive"));
    let serving = Serving { certificate: Some(certificate.clone()), ..crate::http::testing::plain(listener) };
    tokio::spawn(serve(serving, router, Heartbeat::default(), stop.clone()));
    Served { address, certificate, dir, _stop: stop.drop_guard() }
}

impl Served {
    /// Returns the answer to a client that trusts this certificate alone.
    async fn ask(&self, trusted: &str) -> Result<String, String> {
        let pem = std::fs::read(self.dir.path().join(trusted)).unwrap();
        let client = crate::outbound::client(crate::outbound::Route::Direct).timeout(LIMIT);
        let client = crate::outbound::trust_certificates(client, &pem).unwrap().build().unwrap();
        // The certificate is not for this address, so it is trusted as the one that was named.
        let answer = client.get(format!("https://{}/health", self.address)).send().await;
        answer.map_err(|error| format!("{error:?}"))?.text().await.map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_a_broken_one_is_not() {
    let served = served().await;
    assert_eq!(served.ask("a.pem").await.unwrap(), "alive");
    pair(&served.dir, "b");
    assert!(served.ask("b.pem").await.unwrap_err().contains("UnknownIssuer"));
    let before = served.certificate.files();
    std::fs::copy(served.dir.path().join("b.pem"), served.dir.path().join("a.pem")).unwrap();
    assert_ne!(served.certificate.files(), before);
    assert!(served.certificate.reload().unwrap_err().contains("a.key is not the key of"));
    assert!(served.ask("b.pem").await.is_err(), "the former certificate stays");
    std::fs::copy(served.dir.path().join("b.key"), served.dir.path().join("a.key")).unwrap();
    assert!(served.certificate.reload().unwrap());
    assert!(!served.certificate.reload().unwrap(), "it is the same");
    assert_eq!(served.ask("b.pem").await.unwrap(), "alive");
}

#[tokio::test]
async fn silent_clients_keep_nobody_out_and_plain_http_is_told() {
    let served = served().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(served.address).await.unwrap());
    }
    assert_eq!(served.ask("a.pem").await.unwrap(), "alive");

    let mut plain = TcpStream::connect(served.address).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut said = vec![0; 400];
    let n = tokio::time::timeout(LIMIT, plain.read(&mut said)).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&said[..n]);
    assert!(said.starts_with("HTTP/1.1 400 ") && said.ends_with("This port speaks TLS: use https, not http"), "{said}");
}

#[tokio::test]
async fn http_1_1_is_agreed_on() {
    let served = served().await;
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates({
            let mut roots = rustls::RootCertStore::empty();
            roots.add(served.certificate.chain().remove(0)).unwrap();
            roots
        })
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(served.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}
