//! Conveyor's clients: its Go client, as Empire calls it, and GitHub's webhook at an address of its own.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::harness::{Docker, Engine, World, eventually, http_client, push_payload, unique};

on_each_engine!(the_go_client_gets_an_image_as_empire_asks_for_it, a_webhook_at_any_address_becomes_an_image);

const LOGIN: (&str, &str) = ("empire", "password of empire");

/// Conveyor's Go client (`client/conveyor`), with its requests byte by byte as far as a server can see them.
struct GoClient {
    http: reqwest::Client,
    url: String,
}

impl GoClient {
    fn of(world: &World) -> Self {
        Self { http: http_client(), url: world.daemon.url() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url)).basic_auth(LOGIN.0, Some(LOGIN.1));
        request.header("User-Agent", "conveyor/ (linux; amd64)").header("Accept", "application/json")
    }

    /// Sends a request, as `Service.Do` does. An error is the `id` and the `message` of its body.
    async fn ask(&self, request: RequestBuilder) -> Result<Value, (String, String)> {
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {status} {text}"));
        match status.is_success() {
            true => Ok(body),
            false => Err(["id", "message"].map(|name| body[name].as_str().unwrap().to_owned()).into()),
        }
    }

    async fn get(&self, path: &str) -> Result<Value, (String, String)> {
        self.ask(self.request(Method::GET, path)).await
    }

    async fn create(&self, body: &Value) -> Result<Value, (String, String)> {
        self.ask(self.request(Method::POST, "/builds").json(body)).await
    }

    /// Does what `Service.Build` does. Returns the artifact's image, or the error, and what the client writes meanwhile.
    async fn build(&self, options: &Value) -> (Result<String, String>, String) {
        let (repo, sha) = (options["repository"].as_str().unwrap(), options["sha"].as_str().unwrap());
        let artifact = async || self.get(&format!("/artifacts/{repo}@{sha}")).await;
        let image = |artifact: Value| Ok(artifact["image"].as_str().unwrap().to_owned());
        let mut output = String::new();
        match artifact().await {
            Ok(artifact) => return (image(artifact), output),
            Err((id, message)) => {
                assert_eq!((&*id, &*message), ("not_found", "resource was not found"));
            }
        }
        let build = match self.get(&format!("/builds/{repo}@{sha}")).await {
            Ok(build) => build,
            Err((id, _)) if id == "not_found" => match self.create(options).await {
                Ok(build) => {
                    output += &format!("Build: {}\n", build["id"].as_str().unwrap());
                    build
                }
                Err((_, message)) => return (Err(message), output),
            },
            Err((_, message)) => return (Err(message), output),
        };
        let id = build["id"].as_str().unwrap().to_owned();
        let log = self.request(Method::GET, &format!("/logs/{id}")).send().await.unwrap();
        assert!(log.status().is_success());
        output += &log.text().await.unwrap();
        let ended = async || self.get(&format!("/builds/{id}")).await.ok().filter(|it| !it["completed_at"].is_null());
        let build = eventually(Duration::from_secs(30), "the build has ended", ended).await;
        if build["state"] == "failed" {
            return (Err(format!("build {id} failed")), output);
        }
        let found = artifact().await.map_err(|(_, message)| message).and_then(image);
        (found, output)
    }
}

fn dockerfile(step: &str) -> String {
    format!("FROM image-factory-busybox:1\nCOPY which /\nRUN echo {} && {step}\n", unique())
}

async fn the_go_client_gets_an_image_as_empire_asks_for_it(docker: Docker) {
    let basic_auth = format!("{}:{}", LOGIN.0, LOGIN.1);
    let world = World::start_at(Engine::of(docker), &[("BASIC_AUTH", &basic_auth)]).await;
    let client = GoClient::of(&world);
    let builds = dockerfile("true");
    let files = [("Dockerfile", builds.as_str()), ("which", "first")];
    let first = world.repo.commit("main", &files);
    let of = |sha: &str| json!({"repository": "acme/hello", "sha": sha});
    let jobs = async || world.daemon.get("/job").await.as_array().unwrap().len();

    let first_sha = of(&first);
    // Two at once get one build, because the second finds the first one's.
    let ((one, output), (other, _)) = tokio::join!(client.build(&first_sha), async {
        let by_sha = format!("/builds/acme/hello@{first}");
        eventually(Duration::from_secs(20), "the build is made", async || client.get(&by_sha).await.ok()).await;
        client.build(&of(&first)).await
    });
    let image = one.unwrap();
    assert_eq!((&image, &other.unwrap()), (&format!("{}/totem/acme-hello:{first}", world.registry.address()), &image));
    assert_eq!(world.engine.run(&image, &["cat", "/which"]), "first");
    assert!(output.starts_with("Build: ") && output.contains("Executing: docker build"), "{output}");
    let (again, output) = client.build(&of(&first)).await;
    assert_eq!((again, output.as_str(), jobs().await), (Ok(image.clone()), "", 1));

    // A failed commit stays failed for this client, and is built again for who asks directly.
    let broken = world.repo.commit("main", &[("Dockerfile", &dockerfile("false"))]);
    let (failed, output) = client.build(&of(&broken)).await;
    let id = output.strip_prefix("Build: ").unwrap()[..36].to_owned();
    assert_eq!(failed, Err(format!("build {id} failed")));
    assert_eq!(client.build(&of(&broken)).await.0, Err(format!("build {id} failed")));
    let again = client.create(&of(&broken)).await.unwrap();
    assert_ne!(again["id"], id);
    world.daemon.wait_failure(again["id"].as_str().unwrap()).await;

    // A branch alone is the commit that the Git server has there.
    let head = world.repo.commit("feature/x", &files);
    let made = client.create(&json!({"repository": "acme/hello", "branch": "feature/x"})).await.unwrap();
    assert_eq!((made["sha"].as_str(), made["branch"].as_str()), (Some(&*head), Some("feature/x")));
    world.daemon.wait_success(made["id"].as_str().unwrap()).await;
    let (_, message) = client.create(&json!({"repository": "acme/hello", "branch": "gone"})).await.unwrap_err();
    assert_eq!(message, "acme/hello has no branch gone");
    let (_, message) = client.create(&json!({"repository": "acme/gone", "branch": "main"})).await.unwrap_err();
    assert!(message.contains("acme/gone"), "{message}");
}

/// The webhook keeps the address that it had with Conveyor.
async fn a_webhook_at_any_address_becomes_an_image(docker: Docker) {
    let basic_auth = format!("{}:{}", LOGIN.0, LOGIN.1);
    let world = World::start_at(Engine::of(docker), &[("BASIC_AUTH", &basic_auth)]).await;
    let sha = world.repo.commit("main", &[("Dockerfile", &dockerfile("true")), ("which", "first")]);
    let body = push_payload("acme/hello", "refs/heads/main", &sha).to_string();
    let hook = async |path: &str| {
        let signature = format!("sha1={}", world.daemon.sha1(&body));
        let request = world.daemon.bare_request(Method::POST, path).header("X-Hub-Signature", signature);
        let answer = request.header("X-GitHub-Event", "push").body(body.clone()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, id) = hook("/").await;
    assert_eq!((status, hook("/conveyor/hooks").await), (200, (200, id.clone())));
    let job = world.daemon.wait_success(&id).await;
    assert_eq!(job["context"]["branch"], "main");
    let client = GoClient::of(&world);
    let (image, _) = client.build(&json!({"repository": "acme/hello", "sha": sha, "branch": "main"})).await;
    assert_eq!(world.engine.run(&image.unwrap(), &["cat", "/which"]), "first");
    // The job is one of the daemon, whatever door it came in by.
    let rebuilt: Value =
        world.daemon.request(Method::POST, &format!("/job/{id}/rebuild")).send().await.unwrap().json().await.unwrap();
    world.daemon.wait_success(rebuilt["id"].as_str().unwrap()).await;
    let artifact = client.get(&format!("/artifacts/acme/hello@{sha}")).await.unwrap();
    assert_eq!(artifact["id"], rebuilt["id"]);
    assert!(
        world.daemon.output().contains("served: the APIs of totem, conveyor, generator"),
        "{}",
        world.daemon.output()
    );
}
