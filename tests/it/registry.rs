//! The requests of `doctor` to real registries.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use image_factory::model::{AllowedHosts, ImageRef};
use image_factory::registry::{Registries, RegistryError, TokenQuestion};
use image_factory::secrets::RegistryAuth;

use crate::harness::*;

const BUILDER: Account = Account { user: "builder", password: "s3cret:pass", actions: &["pull", "push", "delete"] };
/// May push, and not take back what it began.
const PUSHER: Account = Account { user: "pusher", password: "s3cret:push", actions: &["pull", "push"] };
const READER: Account = Account { user: "reader", password: "s3cret:read", actions: &["pull"] };

fn password(user: &str, password: &str) -> RegistryAuth {
    RegistryAuth { username: user.into(), password: password.to_owned().into(), ..RegistryAuth::default() }
}

/// The one line that `doctor` shows, of success or failure; no password is in it.
async fn said(image: &str, auth: Option<&RegistryAuth>) -> String {
    let line = match Registries::default().check_push(&ImageRef::parse(image).unwrap(), auth).await {
        Ok(access) => access.to_string(),
        Err(error) => error.to_string(),
    };
    assert!(!line.contains('\n') && !line.contains("s3cret"), "{line}");
    line
}

#[tokio::test]
async fn a_registry_without_a_login_takes_pushes_from_anyone() {
    let registry = Registry::open().await;
    let address = registry.address();
    let image = format!("{address}/a/b/c/hello:1");
    let expected = format!("{address} takes pushes to a/b/c/hello from anyone: it asks for no login");
    assert_eq!(said(&image, None).await, expected);
    assert_eq!(said(&image, Some(&password("u", "s3cret"))).await, expected);
    assert_eq!((registry.calls("POST", "/a/b/c/hello/blobs/uploads/"), registry.open_uploads("a/b/c/hello")), (2, 0));
}

#[tokio::test]
async fn a_password_is_right_or_wrong_or_missing() {
    let registry = Registry::with_password("builder", "s3cret p?>~ü").await;
    let address = registry.address();
    let image = format!("{address}/totem/hello:1");
    let mut lines = Vec::new();
    for auth in [Some(password("builder", "s3cret p?>~ü")), Some(password("builder", "s3cret")), None] {
        lines.push(masked(&said(&image, auth.as_ref()).await, &[(&address, "registry")]));
    }
    insta::assert_snapshot!(lines.join("\n"), @r"
    [registry] takes pushes to totem/hello from builder
    [registry] does not accept the login of builder in the dockercfg; store a valid login by `image-factory secrets put dockercfg FILE`
    [registry] asks for a login, and the dockercfg has none for it; store a login by `image-factory secrets put dockercfg FILE`
    ");
    assert_eq!((registry.calls("DELETE", "/totem/hello/blobs/uploads/"), registry.open_uploads("totem/hello")), (1, 0));
}

#[tokio::test]
async fn a_token_proves_the_right_to_push() {
    let registry = Registry::with_tokens(&[BUILDER, PUSHER, READER]).await;
    let address = registry.address();
    let image = format!("{address}/totem/hello:1");
    let identity = |token: String| RegistryAuth { identity_token: Some(token.into()), ..RegistryAuth::default() };
    let mut lines = Vec::new();
    for auth in [
        Some(password(BUILDER.user, BUILDER.password)),
        Some(identity(BUILDER.identity_token())),
        Some(password(READER.user, READER.password)),
        Some(password("builder", "s3cret")),
        Some(identity("s3cret".into())),
        None,
    ] {
        lines.push(masked(&said(&image, auth.as_ref()).await, &[(&address, "registry")]));
    }
    insta::assert_snapshot!(lines.join("\n"), @r"
    [registry] takes pushes to totem/hello from builder, by a token of 127.0.0.1
    [registry] takes pushes to totem/hello from the identity token, by a token of 127.0.0.1
    [registry] does not let reader push to totem/hello; give that right to the login in the registry
    [registry] does not accept the login of builder in the dockercfg; store a valid login by `image-factory secrets put dockercfg FILE`
    [registry] does not accept the login of the identity token in the dockercfg; store a valid login by `image-factory secrets put dockercfg FILE`
    [registry] asks for a login, and the dockercfg has none for it; store a login by `image-factory secrets put dockercfg FILE`
    ");
    assert_eq!(registry.open_uploads("totem/hello"), 0);
    let calls = registry.token_calls();
    assert_eq!(calls[0].scopes, ["repository:totem/hello:pull,push"]);
    assert_eq!(calls[1].scopes, ["repository:totem/hello:delete"]);
    assert_eq!(calls.iter().filter(|call| call.user.is_none()).count(), 2);

    // A token of the registry is used as it is.
    let minted = registry.mint("repository:totem/hello:pull,push,delete").into();
    let auth = RegistryAuth { registry_token: Some(minted), ..RegistryAuth::default() };
    let line = said(&image, Some(&auth)).await;
    assert_eq!(line, format!("{address} takes pushes to totem/hello from the registry token"));

    // The registry drops an upload that cannot be cancelled.
    let line = said(&image, Some(&password(PUSHER.user, PUSHER.password))).await;
    insta::assert_snapshot!(masked(&line, &[(&address, "registry")]), @"[registry] takes pushes to totem/hello from pusher, by a token of 127.0.0.1");
    assert_eq!(registry.open_uploads("totem/hello"), 1);
}

/// Runs Docker's registry with these settings under `http` and `auth`.
async fn registry(dir: &Path, http: &str, rest: &str) -> (Proc, u16) {
    let (server, [port]) = start(
        "registry",
        &dir.join("log"),
        |[port]| {
            let config = format!(
                "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
                 http: {{addr: '127.0.0.1:{port}'{http}}}\n{rest}",
                dir.join("data").display()
            );
            std::fs::write(dir.join("config.yml"), config).unwrap();
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(dir.join("config.yml"));
            command
        },
        async |[port]| tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok(),
    )
    .await;
    (server, port)
}

#[tokio::test]
async fn tls_is_trusted_by_dockers_own_folder_or_not() {
    let (dir, certs) = (folder(), folder());
    let (key, certificate) = self_signed(dir.path(), "ec");
    let http = format!(", tls: {{certificate: {}, key: {}}}", certificate.display(), key.display());
    let (_server, port) = registry(dir.path(), &http, "").await;
    let address = format!("127.0.0.1:{port}");
    let image = ImageRef::parse(&format!("{address}/a/hello:1")).unwrap();
    let registries = Registries::default().with_certs_dir(certs.path());
    let error = registries.check_push(&image, None).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Tls { .. }), "{error:?}");
    insta::assert_snapshot!(masked(&error.to_string(), &[(&address, "registry")]), @"[registry] cannot be reached by TLS: invalid peer certificate: UnknownIssuer; put the certificate of a private authority into /etc/docker/certs.d/[registry]/ca.crt");

    let own = certs.path().join(&address);
    std::fs::create_dir(&own).unwrap();
    std::fs::copy(certificate, own.join("ca.crt")).unwrap();
    let access = registries.check_push(&image, None).await.unwrap();
    assert_eq!(access.repository, "a/hello");
    std::fs::write(own.join("ca.crt"), "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    let error = registries.check_push(&image, None).await.unwrap_err();
    insta::assert_snapshot!(masked(&error.to_string(), &[(&address, "registry")]), @"[registry] cannot be reached by TLS: [folder]/[registry]/ca.crt cannot be used (builder error); put the certificate of a private authority into /etc/docker/certs.d/[registry]/ca.crt");
}

#[tokio::test]
async fn credentials_go_to_no_foreign_realm() {
    let (dir, tokens) = (folder(), TokenServer::start(&[BUILDER]));
    // Another host, as far as names go.
    let elsewhere = TcpListener::bind(("127.0.0.2", port())).unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let auth = format!(
        "auth: {{token: {{realm: 'http://{}/token', service: a, issuer: b, rootcertbundle: {}}}}}\n",
        elsewhere.local_addr().unwrap(),
        tokens.certificate().display()
    );
    let (_server, port) = registry(dir.path(), "", &auth).await;
    let line = said(&format!("127.0.0.1:{port}/a/b:1"), Some(&password(BUILDER.user, BUILDER.password))).await;
    insta::assert_snapshot!(masked(&line, &[]), @"127.0.0.1:[port] wants its passwords sent to 127.0.0.2, which is another domain or has no TLS: it was sent nothing; correct the registry's token realm, or allow a server that has TLS by TOKEN_SERVERS_ALLOWED");
    // An engine may name a realm that the registry never named.
    let (registry, realm) = (format!("127.0.0.1:{port}"), format!("http://{}/token", elsewhere.local_addr().unwrap()));
    let scopes = ["repository:a/b:pull".to_owned()];
    let asked = TokenQuestion { registry: &registry, realm: &realm, service: "a", scopes: &scopes };
    for auth in [Some(password(BUILDER.user, BUILDER.password)), None] {
        let refused = Registries::default().fetch_token(&asked, auth.as_ref()).await.err();
        assert!(matches!(refused, Some(RegistryError::ForeignRealm { .. })), "{refused:?}");
    }
    assert_eq!(elsewhere.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

/// The answer is kept, because every push asks for it.
#[tokio::test]
async fn a_registry_is_asked_once_where_it_sends_its_logins() {
    let (own, elsewhere) = (Registry::with_tokens(&[BUILDER]).await, Registry::with_tokens_elsewhere(&[BUILDER]).await);
    let (registries, allowing) = (Registries::default(), Registries::new(AllowedHosts::parse(["127.0.0.2"]).unwrap()));
    for _ in 0..2 {
        let address = elsewhere.address();
        let (one, other) =
            tokio::join!(registries.foreign_token_server(&address), registries.foreign_token_server(&address));
        assert_eq!([one.as_deref(), other.as_deref()], [Some("127.0.0.2"); 2]);
        assert_eq!(registries.foreign_token_server(&own.address()).await, None);
        assert_eq!(allowing.foreign_token_server(&elsewhere.address()).await, None);
        assert_eq!(registries.foreign_token_server("registry.invalid").await, None);
    }
    assert_eq!((own.calls("GET", "/v2/"), elsewhere.calls("GET", "/v2/")), (1, 2));
    assert_eq!(elsewhere.token_calls(), []);
}

#[tokio::test]
async fn a_login_is_tried_without_a_push() {
    let [passwords, tokens, open] = [
        Registry::with_password("builder", "s3cret").await,
        Registry::with_tokens(&[BUILDER]).await,
        Registry::open().await,
    ];
    let by_token =
        |token: &str| RegistryAuth { registry_token: Some(token.to_owned().into()), ..RegistryAuth::default() };
    let minted = by_token(&tokens.mint("repository:a/b:pull"));
    let rows = [
        (&passwords, password("builder", "s3cret"), Some(Some("builder"))),
        (&passwords, password("builder", "wrong"), None),
        (&tokens, password(BUILDER.user, BUILDER.password), Some(Some("builder"))),
        (&tokens, password(BUILDER.user, "wrong"), None),
        (&tokens, minted, Some(Some("the registry token"))),
        (&tokens, by_token("wrong"), None),
        (&open, password("builder", "s3cret"), Some(None)),
    ];
    let mut refusals = Vec::new();
    for (registry, auth, expected) in rows {
        let tried = Registries::default()
            .check_login(&registry.address(), &auth)
            .await
            .map(|login| login.map(|login| login.user));
        match expected {
            Some(user) => assert_eq!(tried, Ok(user.map(str::to_owned))),
            None => refusals.push(masked(&tried.unwrap_err().to_string(), &[])),
        }
    }
    insta::assert_snapshot!(refusals.join("\n"), @r"
    127.0.0.1:[port] does not accept the login of builder in the dockercfg; store a valid login by `image-factory secrets put dockercfg FILE`
    127.0.0.1:[port] does not accept the login of builder in the dockercfg; store a valid login by `image-factory secrets put dockercfg FILE`
    127.0.0.1:[port] does not accept the login of the registry token in the dockercfg; store a valid login by `image-factory secrets put dockercfg FILE`
    ");
    assert!([&passwords, &tokens, &open].iter().all(|registry| registry.calls("POST", "") == 0));
}

/// A server that lets in who has a password, and sends on to `target` whoever asks for this path.
fn redirecting(path: &'static str, target: String) -> Served {
    let answer = async move |request: axum::extract::Request| {
        let asks_in = [("www-authenticate", "Basic realm=x")];
        match request.headers().contains_key("authorization") {
            _ if request.uri().path() == path => Redirect::temporary(&target).into_response(),
            false => (StatusCode::UNAUTHORIZED, asks_in).into_response(),
            true => StatusCode::OK.into_response(),
        }
    };
    Served::start(axum::Router::new().fallback(answer))
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let mut lines = Vec::new();
    for path in ["/v2/", "/v2/a/b/blobs/uploads/"] {
        let capture = Capture::start(&[]);
        let server = redirecting(path, capture.url().replace("127.0.0.1", "localhost"));
        let line = said(&format!("{}/a/b:1", server.address), Some(&password("u", "s3cret"))).await;
        lines.push(masked(&line, &[(&server.address.to_string(), "registry")]));
        assert!(capture.requests().is_empty());
    }
    insta::assert_snapshot!(lines.join("\n"), @r"
    [registry] is no registry: [registry]/v2/ redirects to localhost; correct DOCKER_REPO_BASE
    [registry] is no registry: [registry]/v2/a/b/blobs/uploads/ redirects to localhost; correct DOCKER_REPO_BASE
    ");
}

#[tokio::test]
async fn a_server_that_is_no_registry_is_distinguished_from_an_absent_one() {
    let answers = |status: StatusCode| Served::start(axum::Router::new().fallback(async move || status));
    let (web, down) = (answers(StatusCode::NOT_FOUND), answers(StatusCode::SERVICE_UNAVAILABLE));
    let all = answers(StatusCode::OK);
    let closed = format!("127.0.0.1:{}", port());
    let mut lines = Vec::new();
    for address in
        [web.address.to_string(), all.address.to_string(), down.address.to_string(), closed, "registry.invalid".into()]
    {
        let line = said(&format!("{address}/a/b:1"), Some(&password("u", "s3cret"))).await;
        lines.push(masked(&line, &[(&address, "registry")]));
    }
    insta::assert_snapshot!(lines.join("\n"), @r"
    [registry] is no registry: http://[registry]/v2/ answers 404 Not Found; correct DOCKER_REPO_BASE
    [registry] is no registry: http://[registry]/v2/a/b/blobs/uploads/ answers 200 OK; correct DOCKER_REPO_BASE
    [registry] is overloaded or broken: [registry]/v2/ answers 503 Service Unavailable; read the registry's log, or try again later
    [registry] is not reached: Connection refused (os error 111); check the registry's name and port, and the network from here to there
    [registry] is not reached: failed to lookup address information: [reason]; check the registry's name and port, and the network from here to there
    ");
}
