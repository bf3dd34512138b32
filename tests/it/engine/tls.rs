//! An engine behind TLS.

use std::path::Path;

use super::*;
use crate::harness::{Authority, Daemon, Registry, Repo, Served, TlsFront, folder};

fn host(port: u16, certs: &Path) -> Host {
    Host::new(&format!("tcp://127.0.0.1:{port}"), Some(certs.into()), None).unwrap()
}

async fn trouble(host: Host) -> String {
    Engine::new(host).info().await.unwrap_err().message
}

#[tokio::test]
async fn a_job_runs_through_tls() {
    let (engine, registry, dir) = (harness::Engine::shared(), Registry::open().await, folder());
    let authority = Authority::new();
    let front = TlsFront::start(authority.docker_certs("serverAuth", "IP:127.0.0.1", false).path(), &engine.host);
    let certs = authority.docker_certs("clientAuth", "DNS:client", false);
    let repo = Repo::create(&dir.path().join("acme/tls.git"));
    // The step's output is larger than a TLS record.
    let step = format!("RUN echo {}; seq 1 9999; echo the end\n", harness::unique());
    let big = "not in one record ".repeat(100_000);
    repo.commit(
        "develop",
        &[("Dockerfile", &format!("FROM image-factory-busybox:1\nCOPY big /\n{step}")), ("big", &big)],
    );
    let settings = [
        ("GIT_URL", format!("file://{}/{{owner}}/{{repo}}.git", dir.path().display())),
        ("DOCKER_REPO_BASE", format!("{}/totem", registry.address())),
        ("DOCKER_HOST", format!("tcp://127.0.0.1:{}", front.port)),
        ("DOCKER_TLS_VERIFY", "1".into()),
        ("DOCKER_CERT_PATH", certs.path().display().to_string()),
    ];
    let daemon = Daemon::start(settings.map(|(name, value)| (name.into(), value)).into()).await;
    let id = daemon.submit(serde_json::json!({"owner": "acme", "repo": "tls", "branch": "develop"})).await;
    let job = daemon.wait_success(&id).await;
    let log = daemon.log(&id).await;
    assert!(log.contains("Sent what changed") && log.contains("9999\n") && log.contains("the end\n"), "{log}");
    let image = job["image"].as_str().unwrap().rsplit_once(':').unwrap();
    assert_eq!(registry.manifest("totem/acme-tls", image.1).await.unwrap().0, job["digest"]);
    engine.remove_images(&format!("reference={}/*/*", registry.address()));
}

#[tokio::test]
async fn a_renewed_certificate_is_used() {
    let authority = Authority::new();
    let server = authority.docker_certs("serverAuth", "IP:127.0.0.1", false);
    let front = TlsFront::start(server.path(), &harness::Engine::shared().host);
    let certs = authority.docker_certs("clientAuth", "DNS:client", true);
    let engine = Engine::new(host(front.port, certs.path()));
    assert!(engine.info().await.unwrap_err().message.contains("CertificateExpired"));
    let renewed = authority.docker_certs("clientAuth", "DNS:client", false);
    for name in ["cert.pem", "key.pem"] {
        fs::copy(renewed.path().join(name), certs.path().join(name)).unwrap();
    }
    engine.info().await.unwrap();
    fs::remove_file(certs.path().join("key.pem")).unwrap();
    let error = engine.info().await.unwrap_err().message;
    assert!(error.contains("key.pem cannot be read"), "{error}");
}

#[tokio::test]
async fn a_wrong_certificate_is_named() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let engine = harness::Engine::shared().host;
    let good = authority.docker_certs("clientAuth", "DNS:client", false);
    let front =
        |name: &str, expired| TlsFront::start(authority.docker_certs("serverAuth", name, expired).path(), &engine);
    let right = front("IP:127.0.0.1,IP:::1,DNS:localhost", false);
    Engine::new(host(right.port, good.path())).info().await.unwrap();
    let named = Host::new(&format!("tcp://localhost:{}/", right.port), Some(good.path().into()), None).unwrap();
    Engine::new(named).info().await.unwrap();

    let says = |error: &str, words: &[&str]| {
        assert!(words.iter().all(|word| error.contains(word)), "{words:?} are not in {error:?}");
        assert!(error.contains("tcp://127.0.0.1:") && !error.contains('\n'), "{error}");
    };
    // The engine's certificate.
    let unknown = stranger.docker_certs("clientAuth", "DNS:client", false);
    let error = trouble(host(right.port, unknown.path())).await;
    says(&error, &["not signed by", "ca.pem: put the engine's own authority there"]);
    let misnamed = front("DNS:engine.example,IP:192.0.2.1", false);
    says(&trouble(host(misnamed.port, good.path())).await, &["not for 127.0.0.1", "subjectAltName"]);
    let expired = front("IP:127.0.0.1", true);
    says(&trouble(host(expired.port, good.path())).await, &["its certificate has expired: renew it"]);
    // Ours.
    fs::copy(authority.cert(), unknown.path().join("ca.pem")).unwrap();
    let error = trouble(host(right.port, unknown.path())).await;
    says(&error, &["it refuses", "cert.pem (", "--tlscacert"]);
    let for_servers = authority.docker_certs("serverAuth", "DNS:client", false);
    says(&trouble(host(right.port, for_servers.path())).await, &["it refuses", "client authentication"]);
    // One side speaks no TLS.
    let plain = Served::start(axum::Router::new());
    says(&trouble(host(plain.address.port(), good.path())).await, &["does not speak TLS", "--tlsverify"]);
    let error = trouble(format!("tcp://127.0.0.1:{}", right.port).parse().unwrap()).await;
    says(&error, &["does not speak plain HTTP", "DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH"]);
}

#[test]
fn wrong_certificate_files_are_named_at_the_start() {
    let authority = Authority::new();
    let pass = ["-aes128", "-passout", "pass:secret"];
    for (name, content, words) in [
        ("ca.pem", None, "ca.pem cannot be read (No such file"),
        ("key.pem", None, "key.pem cannot be read (No such file"),
        ("cert.pem", Some("none"), "cert.pem has no certificate"),
        ("key.pem", Some("none"), "key.pem has no private key"),
        ("key.pem", Some("another"), "is not the key of"),
        ("key.pem", Some("encrypted"), "key.pem is encrypted: `openssl pkey`"),
    ] {
        let certs = authority.docker_certs("clientAuth", "DNS:client", false);
        let path = certs.path().join(name);
        match content {
            None => fs::remove_file(&path).unwrap(),
            Some("another") => drop(fs::copy(authority.key(), &path).unwrap()),
            Some("encrypted") => {
                let key = fs::read(&path).unwrap();
                let made = harness::succeed(Command::new("openssl").args(["pkey"]).args(pass), &key).stdout;
                fs::write(&path, made).unwrap();
            }
            Some(text) => fs::write(&path, text).unwrap(),
        }
        let settings = [
            ("DOCKER_HOST", "tcp://engine.example:2376"),
            ("DOCKER_TLS_VERIFY", "1"),
            ("DOCKER_CERT_PATH", certs.path().to_str().unwrap()),
        ];
        let said = Daemon::fail(&settings.map(|(name, value)| (name.into(), value.into())).into(), &["--check"]);
        let error = String::from_utf8(said.stderr).unwrap();
        assert!(!said.status.success() && error.contains(words), "{name} {content:?}: {error}");
        assert!(error.contains("DOCKER_HOST=\"tcp://engine.example:2376\" cannot be used"), "{error}");
    }
}
