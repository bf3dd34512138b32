use super::*;

const NEW: &str = r#"{"owner":"acme","repo":"hello"}"#;
const ELSEWHERE: &str = r#"{"owner":"acme","repo":"hello","dockerRepoBase":"evil.example/x"}"#;

fn post(request: RequestBuilder, body: &'static str) -> RequestBuilder {
    request.header("content-type", "application/json").body(body)
}

#[tokio::test]
async fn each_role_has_its_rights() {
    let server = server(|_| {}).await;
    let id = server.job().await;
    let (show, log, cancel) = (format!("/job/{id}"), format!("/job/{id}/log"), format!("/job/{id}/cancel"));
    for (role, see, build, elsewhere) in [
        ("read", 200, 403, 403),
        ("build", 200, 201, 403),
        ("admin", 200, 201, 201),
        ("nobody", 401, 401, 401),
        ("", 401, 401, 401),
    ] {
        for path in ["/job", &show, &log] {
            assert_eq!(send(server.as_role(role, "GET", path)).await.status, see, "{role} {path}");
            assert_eq!(send(server.as_role(role, "HEAD", path)).await.status, see, "{role} {path}");
        }
        assert_eq!(send(post(server.as_role(role, "POST", "/job"), NEW)).await.status, build, "{role}");
        assert_eq!(send(post(server.as_role(role, "POST", "/job"), ELSEWHERE)).await.status, elsewhere, "{role}");
        if build != 201 {
            assert_eq!(send(server.as_role(role, "POST", &cancel)).await.status, build, "{role}");
        }
    }
    for path in ["/", "/_schema/job", "/health", "/ready"] {
        assert_eq!(send(server.request("GET", path)).await.status, 200, "{path}");
    }
    assert_eq!(send(server.as_role("build", "POST", &cancel)).await.status, 200);
}

#[tokio::test]
async fn a_token_comes_as_bearer_or_as_a_password() {
    let server = server(|_| {}).await;
    let token = "read".repeat(8);
    let with = |value: String| send(server.request("GET", "/job").header("authorization", value));
    assert_eq!(with(format!("Bearer {token}")).await.status, 200);
    assert_eq!(with(format!("bearer  {token}")).await.status, 200);
    assert_eq!(send(server.request("GET", "/job").basic_auth("x", Some(&token))).await.status, 200);
    assert_eq!(send(server.request("GET", "/job").basic_auth(&token, Some(""))).await.status, 401);
    for value in
        [format!("Bearer {token}x"), "Bearer".into(), format!("Token {token}"), "Basic !".into(), token.clone()]
    {
        assert_eq!(with(value.clone()).await.status, 401, "{value}");
    }
    let refused = send(server.request("GET", "/job")).await;
    let offered = |answer: &Answer| {
        let offers = answer.headers.get_all("www-authenticate").iter();
        offers.map(|offer| offer.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(offered(&refused), ["Bearer", "Basic realm=\"Image Factory\""]);
    // A browser would ask for the password in a window of its own.
    for (name, value) in [("accept", "text/html,application/xml;q=0.9,*/*;q=0.8"), ("sec-fetch-dest", "empty")] {
        assert_eq!(offered(&send(server.request("GET", "/job").header(name, value)).await), ["Bearer"]);
    }
    assert_eq!(refused.json()["code"], "InvalidCredentials");
    let refused = send(post(server.as_role("read", "POST", "/job"), NEW)).await;
    assert_eq!(refused.json()["code"], "NotAuthorized");
}

#[tokio::test]
async fn an_empty_token_opens_nothing() {
    let server = server(|config| config.tokens[2].token = Zeroizing::new(String::new())).await;
    assert_eq!(send(server.request("GET", "/job").header("authorization", "Bearer ")).await.status, 401);
    assert_eq!(send(server.request("GET", "/job").basic_auth("", Some(""))).await.status, 401);
}

#[tokio::test]
async fn an_open_api_takes_nothing_from_foreign_pages() {
    let server = server(|config| config.open = true).await;
    let own = server.base.clone();
    let address = own.strip_prefix("http://").unwrap();
    let asks = |method: &'static str, headers: &[(&'static str, &str)]| {
        let request = post(server.request(method, "/job"), if method == "POST" { ELSEWHERE } else { "" });
        send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
    };
    assert_eq!(asks("POST", &[]).await.status, 201);
    assert_eq!(asks("POST", &[("origin", &own), ("sec-fetch-site", "same-origin")]).await.status, 201);
    assert_eq!(asks("POST", &[("host", "ci.acme.org"), ("origin", "https://ci.acme.org")]).await.status, 201);
    assert_eq!(asks("POST", &[("host", "localhost:1")]).await.status, 201);
    for headers in [
        [("host", "evil.example"), ("x", "")],
        [("host", "ci.acme.org.evil.example"), ("x", "")],
        [("host", "evil.example"), ("origin", "http://evil.example")],
        [("host", address), ("origin", "http://evil.example")],
        [("host", address), ("origin", "http://127.0.0.1:1")],
        [("host", address), ("origin", "null")],
        [("host", address), ("sec-fetch-site", "cross-site")],
        [("host", address), ("sec-fetch-site", "same-site")],
    ] {
        let refused = asks("POST", &headers).await;
        assert_eq!((refused.status, &refused.json()["code"]), (403, &"NotAuthorized".into()), "{headers:?}");
    }
    assert_eq!(asks("GET", &[]).await.status, 200);
    assert_eq!(asks("GET", &[("sec-fetch-site", "cross-site")]).await.status, 200);
    assert_eq!(asks("GET", &[("host", "evil.example")]).await.status, 403);
    // An engine fetches by GET what an ADD names, and clients in Go send changes under the same name.
    for (agent, read) in [("Go-http-client/1.1", 403), ("buildkit/v0.29", 403), ("git/2.47.3", 403), ("Wget", 200)] {
        assert_eq!(asks("GET", &[("user-agent", agent)]).await.status, read, "{agent}");
        assert_eq!(asks("POST", &[("user-agent", agent)]).await.status, 201, "{agent}");
        let proved = server.as_role("read", "GET", "/job").header("user-agent", agent);
        assert_eq!(send(proved).await.status, 200, "{agent}");
    }
    // A token proves the sender, so the Host does not matter.
    let proved = server.as_role("build", "POST", "/job").header("host", "evil.example");
    assert_eq!(send(post(proved, NEW)).await.status, 201);
    // A token keeps its role in an open API.
    assert_eq!(send(post(server.as_role("read", "POST", "/job"), NEW)).await.status, 403);
}

/// A browser sends a password that it knows with what any page asks for.
#[tokio::test]
async fn a_password_counts_like_a_cookie() {
    let server = server(|config| config.cors_origins = vec!["https://page.acme.org".into()]).await;
    let token = "build".repeat(8);
    let asks = |method: &'static str, headers: &[(&'static str, &str)]| {
        let request = post(server.request(method, "/job"), if method == "POST" { NEW } else { "" });
        let request = request.basic_auth("x", Some(&token));
        send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
    };
    for headers in [
        [("origin", "http://evil.example"), ("x", "")],
        [("origin", "null"), ("x", "")],
        [("sec-fetch-site", "cross-site"), ("x", "")],
        [("host", "evil.example"), ("origin", "http://evil.example")],
        [("host", "evil.example"), ("x", "")],
    ] {
        let (status, code, message) = asks("POST", &headers).await.error();
        assert_eq!((status, &*code), (403, "NotAuthorized"), "{headers:?}");
        assert!(
            message.ends_with("a token as Bearer with it") || message.ends_with("or send a token as Bearer"),
            "{message}"
        );
        assert_eq!(asks("GET", &headers).await.status, 200, "{headers:?}");
    }
    for headers in [
        [("x", ""), ("y", "")],
        [("origin", server.base.as_str()), ("sec-fetch-site", "same-origin")],
        [("host", "ci.acme.org"), ("origin", "https://ci.acme.org")],
        [("origin", "https://page.acme.org"), ("sec-fetch-site", "cross-site")],
    ] {
        assert_eq!(asks("POST", &headers).await.status, 201, "{headers:?}");
    }
    let proved = post(server.as_role("build", "POST", "/job"), NEW).header("origin", "http://evil.example");
    assert_eq!(send(proved).await.status, 201);
}

#[tokio::test]
async fn only_allowed_repositories_are_built() {
    let server = server_with(|_| {}, |rules| rules.allow_repos = vec!["other".into(), "acme/web-*".into()]).await;
    let refused = server.post("/job", NEW).await.error();
    let message = "acme/hello is not built here: the operator must name it in ALLOW_REPOS";
    assert_eq!(refused, (403, "NotAuthorized".into(), message.into()));
    assert_eq!(server.post("/job", r#"{"owner":"acme","repo":"web-1"}"#).await.status, 201);
    assert_eq!(server.post("/job", r#"{"owner":"other","repo":"x"}"#).await.status, 201);
    assert_eq!(server.store.jobs(10, None).await.unwrap().len(), 2);
}
