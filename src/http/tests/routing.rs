//! The table of routes in api.md: each with each kind of credentials, and with its door closed.

use std::fmt::Write as _;

use serde_json::json;

use super::*;
use crate::model::TagResult;

/// A row of the table.
struct Route {
    door: String,
    method: String,
    path: String,
    /// Text behind the request's method and path.
    more: String,
    /// Statuses in the order of `CREDENTIALS`.
    statuses: Vec<u16>,
}

const CREDENTIALS: [&str; 7] = ["none", "wrong", "read", "build", "admin", "limited", "basic"];

fn routes() -> Vec<Route> {
    let api = include_str!("../../../api.md");
    let (_, table) = api.split_once("<!-- routes -->").unwrap();
    let (table, _) = table.split_once("<!-- end of routes -->").unwrap();
    let row = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (_, request) = cells[1].split_once('`').unwrap();
        let (request, more) = request.split_once('`').unwrap();
        let (method, path) = request.split_once(' ').unwrap();
        let statuses: Vec<u16> = cells[2..].iter().map(|status| status.parse().unwrap()).collect();
        assert_eq!(statuses.len(), CREDENTIALS.len(), "{line}");
        let [door, method, path, more] = [cells[0], method, path, more.trim()].map(str::to_owned);
        Route { door, method, path, more, statuses }
    };
    table.lines().filter(|line| line.contains('`')).map(row).collect()
}

/// Returns an id of a commit that no other row has.
fn new_commit() -> String {
    let id = uuid::Uuid::now_v7().simple().to_string();
    format!("{id}{}", &id[24..])
}

impl Server {
    /// Returns the request of a row, for something of `acme/hello` that exists.
    async fn request_of(&self, route: &Route) -> RequestBuilder {
        let mut path = route.path.clone();
        let mut body = String::new();
        match (route.method.as_str(), route.path.as_str()) {
            ("POST", "/job") => body = r#"{"owner":"acme","repo":"hello"}"#.into(),
            ("POST", "/builds") => body = json!({"repository": "acme/hello", "sha": new_commit()}).to_string(),
            ("POST", "/tokens") => {
                body = json!({"name": uuid::Uuid::now_v7().simple().to_string(), "role": "read"}).to_string();
            }
            (_, "/tokens/{name}/revoke") => {
                let body = r#"{"name":"revoked","role":"read"}"#;
                send(self.as_role("admin", "POST", "/tokens").body(body)).await;
                path = path.replace("{name}", "revoked");
            }
            (_, found) if found.ends_with("?token=CI_TOKEN") => {
                body = self.push();
                path = path.replace("CI_TOKEN", CI_TOKEN);
            }
            (_, found) if found.starts_with("/engines/") => path = path.replace("{name}", "1"),
            (_, "/_schema/{name}") => path = path.replace("{name}", "job"),
            (_, "/notifications/{id}/replay") => {
                self.notified().await;
                let dead = self.get("/notifications?state=dead&limit=1").await.json();
                path = path.replace("{id}", dead[0]["id"].as_str().unwrap());
            }
            (_, found) if found.starts_with("/deliveries/") => {
                assert_eq!(send(self.signed(&self.push())).await.status, 201);
                let newest = self.get("/deliveries?limit=1").await.json();
                path = path.replace("{id}", newest[0]["id"].as_str().unwrap());
            }
            (_, found) if found.contains("1/build") && !found.contains("{id}") => {
                path = generator::path("q.io/cts/example").replace("/b1/build", found);
            }
            (_, "/job/{id}/cancel") => path = path.replace("{id}", &self.job().await.to_string()),
            (_, found) if found.contains("{id}") || found.contains("{sha}") => {
                let (id, sha) = self.built().await;
                path = path.replace("{protocol}", "http");
                path =
                    path.replace("{id}", &id.to_string()).replace("{owner}/{repo}@{sha}", &format!("acme/hello@{sha}"));
            }
            _ => {}
        }
        if route.more.is_empty() {
            let request = self.request(&route.method, &path);
            return if body.is_empty() {
                request
            } else {
                request.header("content-type", "application/json").body(body)
            };
        }
        let mut webhook = self.signed(&self.push()).build().unwrap();
        *webhook.method_mut() = route.method.parse().unwrap();
        webhook.url_mut().set_path(&path);
        if route.more.contains("without") {
            webhook.headers_mut().remove("x-hub-signature-256");
        }
        RequestBuilder::from_parts(self.http.clone(), webhook)
    }

    /// Returns the payload of a push that no other row has.
    fn push(&self) -> String {
        json!({"ref": "refs/heads/x", "head_commit": {"id": new_commit()}, "after": new_commit(),
            "repository": {"name": "hello", "full_name": "acme/hello", "owner": {"login": "acme"}}})
        .to_string()
    }

    /// Makes a job of `acme/hello` that has pushed its image, and returns its id and its commit.
    async fn built(&self) -> (JobId, String) {
        let sha = new_commit();
        let body = json!({"owner": "acme", "repo": "hello", "commit": sha}).to_string();
        let id: JobId = self.post("/job", &body).await.json()["id"].as_str().unwrap().parse().unwrap();
        let job = loop {
            let job = self.claim().await;
            if job.id == id {
                break job;
            }
            self.finish(&job, Status::Failure, Stages::pending()).await;
        };
        let digest = Some("sha256:1234".to_owned());
        let outcome = Outcome {
            status: Status::Success,
            stages: Stages::pending(),
            resolved_commit: Some(sha.parse().unwrap()),
            digest: digest.clone(),
            cause: None,
            class: None,
            superseded_by: None,
            tags: vec![TagResult { name: job.image.clone(), digest, kept: None }],
        };
        self.store.finish(job.id, job.attempt, &outcome).await.unwrap();
        self.logs.end(id);
        (id, sha)
    }
}

#[tokio::test]
async fn each_route_answers_each_kind_of_credentials_as_api_md_says() {
    let all = Dialects::parse("totem,conveyor,generator,compose-ci").unwrap();
    let server = generator::generator(|config| config.dialects = all).await;
    let body = r#"{"name":"limited","role":"build","repositories":["other/*"]}"#;
    let limited = send(server.as_role("admin", "POST", "/tokens").body(body)).await.json();
    let limited = limited["token"].as_str().unwrap();
    let mut wrong = String::new();
    let routes = routes();
    assert!(routes.len() > 30, "the table was not found");
    for route in &routes {
        for (credentials, expected) in CREDENTIALS.iter().zip(&route.statuses) {
            let request = server.request_of(route).await;
            let request = match *credentials {
                "none" => request,
                "wrong" => request.basic_auth("conveyor", Some("wrong")),
                "limited" => request.bearer_auth(limited),
                "basic" => request.basic_auth("conveyor", Some("pass:word")),
                role => request.bearer_auth(role.repeat(8)),
            };
            let answer = send(request).await;
            if answer.status != *expected {
                let Route { method, path, more, .. } = route;
                let (status, text) = (answer.status, answer.text());
                writeln!(wrong, "{method} {path} {more} with {credentials}: {status}, not {expected}: {text}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test]
async fn a_door_that_is_closed_has_no_routes() {
    for (open, closed) in [("totem", "conveyor,generator,compose-ci"), ("conveyor", "totem,generator,compose-ci")] {
        let server = server(|config| config.dialects = Dialects::parse(open).unwrap()).await;
        for Route { door, method, path, more, .. } in routes() {
            let request = server.as_role("admin", &method, &path.replace(['{', '}', '@'], ""));
            let status = send(request.header("content-type", "application/json")).await.status;
            if closed.split(',').any(|closed| closed == door) {
                assert!(matches!(status, 404 | 405), "{method} {path} with {open} alone: {status}");
            } else if (door == open || door == "any") && more.is_empty() && !path.contains('{') {
                assert!(!matches!(status, 404 | 405), "{method} {path} with {open} alone: {status}");
            }
        }
        // A webhook is for whichever door takes it.
        for (path, by_totem) in [("/hooks/github", 201), ("/", 405)] {
            let mut webhook = server.signed(&server.push()).build().unwrap();
            webhook.url_mut().set_path(path);
            let status = server.http.execute(webhook).await.unwrap().status().as_u16();
            assert_eq!(status, if open == "totem" { by_totem } else { 200 }, "{path} with {open} alone");
        }
    }
}
