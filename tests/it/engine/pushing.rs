//! Pushes and credentials.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::response::IntoResponse;

use super::*;

on_each_engine!(
    a_push_to_an_absent_registry_is_retryable,
    credentials_go_to_their_registry,
    a_password_is_not_sent_in_the_clear,
);

async fn a_push_to_an_absent_registry_is_retryable(docker: Docker) {
    let bench = Bench::new(docker, "push");
    bench.write("Dockerfile", "FROM image-factory-busybox:1\n");
    bench.commit();
    let log = Log::default();
    let image = ImageRef::parse(&format!("127.0.0.1:1/{}:v1", bench.name)).unwrap();
    let snapshot = bench.snapshot(&log).await;
    bench.build_of(snapshot, &image, "Dockerfile", &log).await.unwrap();
    let error = bench.engine.push(&image, None, &log).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Registry, "{error}");
    bench.engine.remove_image(&image).await.unwrap();
    bench.engine.remove_image(&image).await.unwrap();
    let error = bench.engine.push(&image, None, &log).await.unwrap_err();
    assert!(error.message.contains(&bench.name), "{error}");
}

/// Secrets with these credentials alone.
pub(super) async fn dockercfg(registry: &str, user: &str, password: &str) -> Arc<Secrets> {
    dockercfg_of(&serde_json::json!({ registry: { "username": user, "password": password } })).await
}

/// Secrets with this dockercfg alone.
pub(super) async fn dockercfg_of(auths: &serde_json::Value) -> Arc<Secrets> {
    let dir = folder();
    fs::create_dir(dir.path().join("image-factory")).unwrap();
    fs::write(dir.path().join("image-factory/dockercfg"), auths.to_string()).unwrap();
    let config = SecretsConfig {
        place: Place::Folder(dir.path().into()),
        passphrase: None,
        authorized_keys_file: None,
        repo_case: image_factory::model::RepoCase::default(),
    };
    let stop = CancellationToken::new();
    let mut secrets = secrets::start(config, stop.clone());
    let loaded = secrets.wait_for(|s| s.loaded).await.unwrap().clone();
    assert!(loaded.trouble.is_empty(), "{:?}", loaded.trouble);
    stop.cancel();
    loaded
}

/// Builds an image with a file `/layer` of its own, pushes it with its login and removes it from the engine.
pub(super) async fn pushed(bench: &Bench, image: &str, secrets: &Secrets) -> Result<String, EngineError> {
    let image = ImageRef::parse(image).unwrap();
    bench.write("Dockerfile", format!("FROM image-factory-busybox:1\nRUN echo {} > /layer\n", harness::unique()));
    bench.commit();
    let log = Log::default();
    bench.build_of(bench.snapshot(&log).await, &image, "Dockerfile", &log).await.unwrap();
    let pushed = bench.engine.push(&image, secrets.image_auth(None, &image).as_ref(), &log).await;
    bench.engine.remove_image(&image).await.unwrap();
    pushed
}

async fn credentials_go_to_their_registry(docker: Docker) {
    // The engine reads only one of standard and url-safe base64, and this password differs between them.
    let password = "p?>~ü?>?>~~";
    let registry = harness::Registry::with_password("robot", password).await;
    let address = registry.address();
    let mut bench = Bench::new(docker, "auth");
    bench.write("Dockerfile", "FROM image-factory-busybox:1\nRUN echo layer > /layer\n");
    bench.commit();
    let log = Log::default();
    let image = ImageRef::parse(&format!("{address}/acme/base:v1")).unwrap();
    let snapshot = bench.snapshot(&log).await;
    bench.build_of(snapshot, &image, "Dockerfile", &log).await.unwrap();

    let right = dockercfg(&address, "robot", password).await;
    let wrong = dockercfg(&address, "robot", "wrong").await;
    for auth in [None, wrong.registry_auth(&address)] {
        let error = bench.engine.push(&image, auth.as_ref(), &log).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Login, "{error}");
    }
    let push_log = Log::default();
    let digest = bench.engine.push(&image, right.registry_auth(&address).as_ref(), &push_log).await.unwrap();
    assert_eq!(registry.manifest("acme/base", "v1").await.unwrap().0, digest);
    let text = push_log.text();
    let pushed = if docker.has(Feature::Buildkit) { ": Pushed\n" } else { "v1: digest: sha256:" };
    assert!(text.contains(pushed) && text.lines().count() < 10 && !text.contains(password), "{text}");

    // A base image is pulled with the credentials of its registry.
    bench.engine.remove_image(&image).await.unwrap();
    bench.write("Dockerfile", format!("FROM {image}\nCOPY . /ctx/\n"));
    bench.commit();
    bench.secrets = dockercfg("another.example", "robot", password).await;
    let error = bench.try_build(&log).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Auth, "{error}");
    bench.secrets = right;
    bench.build().await;
    assert!(bench.content(&bench.image()) == bench.archive());

    bench.write("Dockerfile", format!("FROM {address}/acme/none:v1\n"));
    bench.commit();
    let error = bench.try_build(&log).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Build, "{error}");
    assert!(error.message.contains("acme/none:v1"), "{error}");
}

/// An engine that says of itself what `info` says, and counts what else it is asked.
fn told(info: serde_json::Value) -> (harness::Served, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let answer = async move |uri: axum::http::Uri| match uri.path() {
        "/version" => {
            axum::Json(serde_json::json!({"Version": "20.10.24", "ApiVersion": "1.41", "Os": "linux"})).into_response()
        }
        "/v1.41/info" => axum::Json(info).into_response(),
        _ => {
            counted.fetch_add(1, Ordering::Relaxed);
            axum::http::StatusCode::NOT_FOUND.into_response()
        }
    };
    (harness::Served::start(axum::Router::new().fallback(answer)), calls)
}

async fn a_password_is_not_sent_in_the_clear(docker: Docker) {
    let plain = "registry.invalid:5000";
    let insecure = serde_json::json!({"RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"],
        "IndexConfigs": {plain: {"Name": plain, "Mirrors": [], "Secure": false, "Official": false}}}});
    let (server, calls) = told(insecure);
    let engine = Engine::new(format!("tcp://{}", server.address).parse().unwrap());
    let auth = dockercfg(plain, "u", "p").await.registry_auth(plain);
    let image = ImageRef::parse(&format!("{plain}/a/b:1")).unwrap();
    let error = engine.push(&image, auth.as_ref(), &Log::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exposed);
    assert!(
        error.message.contains("password was not sent") && error.message.contains("insecure-registries"),
        "{error}"
    );
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    // Without a password there is nothing to lose; nor to another registry, nor on this machine.
    for (name, auth) in [(plain, None), ("other.invalid", auth.as_ref()), ("127.0.0.1:1", auth.as_ref())] {
        let image = ImageRef::parse(&format!("{name}/a/b:1")).unwrap();
        let before = calls.load(Ordering::Relaxed);
        engine.push(&image, auth, &Log::default()).await.unwrap_err();
        assert_eq!(calls.load(Ordering::Relaxed), before + 1, "{name}");
    }

    // The daemon understands a real engine's message about itself.
    let bench = Bench::new(docker, "clear");
    let image = ImageRef::parse(&format!("registry.invalid/{}:1", bench.name)).unwrap();
    let error = bench.engine.push(&image, auth.as_ref(), &Log::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Engine, "{error}");
    let words = ["does not exist locally", "tag does not exist", "image not known"];
    assert!(words.iter().any(|words| error.message.contains(words)), "{error}");
}
