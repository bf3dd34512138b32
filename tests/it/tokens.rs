//! Tokens that are made and revoked while the daemon runs.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::harness::Daemon;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_token_works_at_once_after_a_restart_and_until_it_is_revoked() {
    let own = [("CONCURRENCY", "0"), ("DOCKER_HOST", "unix:///nowhere")];
    let mut daemon = Daemon::start(own.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).await;
    let added = daemon.cli(&["tokens", "add", "ci", "--role", "build", "--repos", "acme/*"]).run();
    assert!(added.status.success(), "{added:?}");
    let token = text(&added.stdout).trim().to_owned();
    daemon.guard("a token of the store", &token);
    insta::assert_snapshot!(text(&added.stderr), @"token ci: role build, acme/*; it is not shown again");

    let build = async |daemon: &Daemon, repo: &str| {
        let request = daemon.bare_request(Method::POST, "/job").bearer_auth(&token);
        request.json(&json!({"owner": "acme", "repo": repo})).send().await.unwrap()
    };
    let made = build(&daemon, "hello").await;
    assert_eq!(made.status(), 201);
    let job: serde_json::Value = made.json().await.unwrap();
    let cancelled = daemon.cli(&["cancel", job["id"].as_str().unwrap()]).run();
    assert!(cancelled.status.success(), "{cancelled:?}");
    let job = daemon.job(job["id"].as_str().unwrap()).await;
    assert_eq!((&job["createdBy"], &job["cancelledBy"]), (&json!("ci"), &json!("admin")));

    daemon.term(Duration::from_secs(30)).await;
    daemon.restart().await;
    assert_eq!(build(&daemon, "again").await.status(), 201);
    let listed = text(&daemon.cli(&["tokens", "list"]).run().stdout);
    let row = listed.lines().find(|line| line.starts_with("ci ")).unwrap();
    assert!(row.contains("build") && row.contains("store") && row.ends_with("acme/*"), "{listed}");

    let revoked = daemon.cli(&["tokens", "revoke", "ci"]).run();
    assert_eq!(text(&revoked.stdout), "token ci is revoked\n");
    assert_eq!(build(&daemon, "hello").await.status(), 401);
    let again = daemon.cli(&["tokens", "revoke", "ci"]).run();
    insta::assert_snapshot!(text(&again.stderr), @"image-factory: refused (404 ResourceNotFound): Unable to locate token with name: ci");
    let own = daemon.cli(&["tokens", "revoke", "admin"]).run();
    insta::assert_snapshot!(text(&own.stderr), @"image-factory: refused (409 ConflictError): The token admin comes from API_TOKENS or DATA_DIR/admin-token: remove it there, and reload the daemon (SIGHUP)");
}
