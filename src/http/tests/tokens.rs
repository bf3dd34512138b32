use super::*;

/// Makes a token as the admin and returns it.
async fn made(server: &Server, body: &str) -> String {
    let request = server.as_role("admin", "POST", "/tokens").body(body.to_owned());
    let answer = send(request).await;
    assert_eq!((answer.status, answer.header("cache-control")), (201, "no-store"), "{}", answer.text());
    answer.json()["token"].as_str().unwrap().to_owned()
}

async fn ask(server: &Server, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let request = server.request(method, path).bearer_auth(token).header("content-type", "application/json");
    send(request.body(body.to_owned())).await
}

const ACME: &str = r#"{"owner":"Acme","repo":"hello"}"#;
const OTHER: &str = r#"{"owner":"other","repo":"hello"}"#;

#[tokio::test]
async fn a_token_is_made_shown_once_and_revoked() {
    let server = server(|_| {}).await;
    let token = made(&server, r#"{"name":"ci","role":"build"}"#).await;
    assert!(token.len() > 40 && token.starts_with("ift_"), "{token}");
    let job = ask(&server, &token, "POST", "/job", ACME).await;
    assert_eq!((job.status, &job.json()["createdBy"]), (201, &"ci".into()));

    let list = async || send(server.as_role("admin", "GET", "/tokens")).await;
    let row = async || list().await.json().as_array().unwrap().iter().find(|row| row["name"] == "ci").cloned();
    let shown = list().await;
    assert!(!shown.text().contains(&token), "{}", shown.text());
    let names: Vec<Value> = shown.json().as_array().unwrap().iter().map(|row| row["name"].clone()).collect();
    assert_eq!(names, ["read", "build", "admin", "ci"]);
    // The use is recorded beside the request.
    let used = async {
        while row().await.unwrap()["lastUseTime"].is_null() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), used).await.unwrap();
    let mut found = row().await.unwrap();
    for time in ["createTime", "lastUseTime"] {
        assert!(found[time].is_string(), "{found}");
        found[time] = "…".into();
    }
    insta::assert_json_snapshot!(found, @r#"
    {
      "createTime": "…",
      "createdBy": "admin",
      "lastUseTime": "…",
      "name": "ci",
      "repositories": [],
      "role": "build",
      "source": "store"
    }
    "#);

    assert_eq!(send(server.as_role("admin", "POST", "/tokens/ci/revoke")).await.status, 200);
    assert_eq!(ask(&server, &token, "GET", "/job", "").await.status, 401);
    assert_eq!(row().await, None);
}

#[tokio::test]
async fn tokens_that_cannot_be_made_or_revoked_say_why() {
    let server = server(|_| {}).await;
    made(&server, r#"{"name":"ci","role":"read"}"#).await;
    let mut said = String::new();
    for body in [
        r#"{"name":"ci","role":"read"}"#,
        r#"{"name":"build","role":"read"}"#,
        r#"{"name":"a b","role":"read"}"#,
        r#"{"name":"x","role":"owner"}"#,
        r#"{"name":"x","role":"build","repositories":["acme/web-*"]}"#,
        r#"{"name":"x","role":"admin","repositories":["acme/*"]}"#,
        r#"{"name":"x"}"#,
    ] {
        let (status, code, message) = send(server.as_role("admin", "POST", "/tokens").body(body)).await.error();
        said += &format!("{status} {code}: {message}\n");
    }
    for name in ["build", "none"] {
        let refused = send(server.as_role("admin", "POST", &format!("/tokens/{name}/revoke"))).await;
        let (status, code, message) = refused.error();
        said += &format!("{status} {code}: {message}\n");
    }
    for (role, method, path) in [
        ("build", "GET", "/secrets"),
        ("build", "GET", "/tokens"),
        ("build", "POST", "/tokens"),
        ("build", "POST", "/tokens/ci/revoke"),
    ] {
        assert_eq!(send(server.as_role(role, method, path)).await.status, 403, "{method} {path}");
    }
    insta::assert_snapshot!(said, @r#"
    409 ConflictError: There is a token ci already: revoke it, or take another name
    409 ConflictError: There is a token build already: revoke it, or take another name
    400 InvalidContent: The token cannot be made: a name has 1 to 64 letters, digits, '.', '_' and '-'
    400 InvalidContent: The token cannot be made: the role is read, build or admin
    400 InvalidContent: The token cannot be made: a repository is OWNER/* or OWNER/REPO: repository "web-*" is not valid: only letters, digits, '.', '_' and '-' are allowed
    400 InvalidContent: The token cannot be made: an admin has all repositories: leave them out, or take the role build
    400 InvalidContent: Invalid JSON: missing field `role` at line 1 column 12
    409 ConflictError: The token build comes from API_TOKENS or DATA_DIR/admin-token: remove it there, and restart the daemon
    404 ResourceNotFound: Unable to locate token with name: none
    "#);
}

#[tokio::test]
async fn a_limited_token_sees_and_builds_its_repositories_alone() {
    let server = server(|_| {}).await;
    let token = made(&server, r#"{"name":"acme","role":"build","repositories":["acme/*"]}"#).await;
    let admin = "admin".repeat(8);
    let by_me = async |method: &str, path: &str, body: &str| ask(&server, &token, method, path, body).await;
    let id = |answer: &Answer| answer.json()["id"].as_str().unwrap().to_owned();

    let own = id(&by_me("POST", "/job", ACME).await);
    let refused = by_me("POST", "/job", OTHER).await.error();
    assert_eq!(refused, (403, "NotAuthorized".into(), "This token is for acme/*, not for other/hello".into()));
    let others = id(&ask(&server, &admin, "POST", "/job", OTHER).await);
    for (made, status) in [(&own, 200), (&others, 404)] {
        for path in ["", "/log"] {
            assert_eq!(by_me("GET", &format!("/job/{made}{path}"), "").await.status, status, "{made}{path}");
        }
    }
    // A job of another repository looks like none at all.
    let unknown = JobId::new().to_string();
    for action in ["cancel", "rebuild"] {
        let refused = by_me("POST", &format!("/job/{others}/{action}"), "").await.error();
        let absent = by_me("POST", &format!("/job/{unknown}/{action}"), "").await.error();
        assert_eq!((refused.0, &refused.1), (404, &absent.1), "{action}");
        assert_eq!(refused.2.replace(&others, ""), absent.2.replace(&unknown, ""));
    }

    let deliver = async |owner: &str| {
        let body = serde_json::json!({"ref": "refs/heads/main", "after": "a".repeat(40),
            "repository": {"name": "hello", "owner": {"name": owner}}, "sender": {"login": "octocat"}});
        let job = send(server.signed(&body.to_string())).await.json();
        assert_eq!(job["createdBy"], "octocat");
    };
    deliver("acme").await;
    deliver("other").await;
    let deliveries = ask(&server, &admin, "GET", "/deliveries", "").await.json();
    let delivery = |owner: &str| {
        let of_owner = deliveries.as_array().unwrap().iter().find(|row| row["owner"] == owner);
        of_owner.unwrap()["id"].as_str().unwrap().to_owned()
    };
    for (owner, shown, replayed) in [("acme", 200, 201), ("other", 404, 404)] {
        let path = format!("/deliveries/{}", delivery(owner));
        assert_eq!(by_me("GET", &path, "").await.status, shown, "{owner}");
        assert_eq!(by_me("POST", &format!("{path}/replay"), "").await.status, replayed, "{owner}");
    }
    for (path, owner) in [("/job", "/context/owner"), ("/deliveries", "/owner")] {
        let listed = by_me("GET", path, "").await.json();
        let owners: Vec<_> = listed.as_array().unwrap().iter().map(|row| row.pointer(owner).unwrap().clone()).collect();
        assert!(!owners.is_empty() && owners.iter().all(|owner| owner != "other"), "{path}: {owners:?}");
    }
    assert_eq!(by_me("GET", "/job?repository=other/hello", "").await.json(), serde_json::json!([]));
    for path in ["/metrics", "/tokens"] {
        let (status, code, message) = by_me("GET", path, "").await.error();
        assert_eq!((status, &*code), (403, "NotAuthorized"), "{path}");
        assert_eq!(message, "This token is for acme/* alone, and this concerns all repositories");
    }
}

#[tokio::test]
async fn notifications_are_listed_within_the_limits() {
    let server = server(|_| {}).await;
    server.notified().await;
    for (name, limits, listed) in [("a", "acme/hello", 3), ("b", "acme/other", 0), ("c", "other/*", 0)] {
        let body = format!(r#"{{"name":"{name}","role":"read","repositories":["{limits}"]}}"#);
        let token = made(&server, &body).await;
        for path in ["/notifications", "/notifications?state=dead", "/notifications?limit=1"] {
            let rows = ask(&server, &token, "GET", path, "").await.json();
            let expected = if path == "/notifications" { listed } else { listed.min(1) };
            assert_eq!(rows.as_array().unwrap().len(), expected, "{limits} {path}");
        }
    }
}
