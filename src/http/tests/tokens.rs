use sha2::{Digest, Sha256};

use super::*;
use crate::http::NEWEST_JOB;
use crate::store::TokenRecord;

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
    409 ConflictError: The token build comes from API_TOKENS or DATA_DIR/admin-token: remove it there, and reload the daemon (SIGHUP)
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

    // A beginning means the token's own jobs alone, and a refusal repeats what was asked.
    let common = own.bytes().zip(others.bytes()).take_while(|(a, b)| a == b).count();
    assert!(common >= 4, "{own} {others}");
    let (both, foreign) = (&own[..common], &others[..=common]);
    assert_eq!(by_me("GET", &format!("/job/{both}"), "").await.json()["id"], *own);
    assert_eq!(ask(&server, &admin, "GET", &format!("/job/{both}"), "").await.status, 409);
    let refused = by_me("GET", &format!("/job/{foreign}"), "").await.error();
    assert_eq!((refused.0, refused.2.ends_with(&format!(": {foreign}"))), (404, true), "{}", refused.2);
    for (job, status) in [(both, 200), (foreign, 400), ("feedfeed", 400)] {
        assert_eq!(by_me("GET", &format!("/notifications?job={job}"), "").await.status, status, "{job}");
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
    let (mine, theirs) = (delivery("acme"), delivery("other"));
    let common = mine.bytes().zip(theirs.bytes()).take_while(|(a, b)| a == b).count();
    assert_eq!(by_me("GET", &format!("/deliveries/{}", &mine[..common]), "").await.json()["id"], *mine);
    let refused = by_me("GET", &format!("/deliveries/{}", &theirs[..=common]), "").await.error();
    assert_eq!((refused.0, refused.2.contains(&theirs)), (404, false), "{}", refused.2);
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
async fn a_stored_token_is_revoked_although_the_settings_have_its_name() {
    let server = server(|_| {}).await;
    let record = TokenRecord {
        name: "build".into(),
        role: Role::Build,
        repositories: vec![],
        created: Millis::now(),
        created_by: "admin".into(),
        used: None,
    };
    assert!(server.store.add_token(&record, &Sha256::digest("stored").into()).await.unwrap());
    assert_eq!(ask(&server, "stored", "GET", "/job", "").await.status, 200);
    let revoke = async || send(server.as_role("admin", "POST", "/tokens/build/revoke")).await;
    assert_eq!(revoke().await.status, 200);
    assert_eq!(ask(&server, "stored", "GET", "/job", "").await.status, 401);
    assert_eq!(revoke().await.status, 409);
}

#[tokio::test]
async fn readiness_names_repositories_to_unlimited_tokens_alone() {
    let server = server(|_| {}).await;
    let limited = made(&server, r#"{"name":"acme","role":"read","repositories":["acme/*"]}"#).await;
    let job = format!("{NEWEST_JOB}other/x ended (config): no key");
    let reasons = ["image-factory/github-keys/other/x: damaged".to_owned(), job, "etcd is away".into()];
    server.degraded.send_replace(reasons.to_vec());
    assert_eq!(server.get("/ready").await.json()["reasons"], serde_json::json!(reasons));
    let open = send(server.request("GET", "/ready")).await;
    let again = "needs an operator: ask again with a token for all repositories to see the cause";
    let hidden = ["a deploy key", "the newest job"].map(|what| format!("{what} of one repository {again}"));
    assert_eq!(open.json()["reasons"], serde_json::json!([&hidden[0], &hidden[1], "etcd is away"]));
    assert_eq!(ask(&server, &limited, "GET", "/ready", "").await.json(), open.json());
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
