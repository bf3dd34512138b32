//! Clients of containerops/generator: curl as in its README, and a reader of its WebSocket.

use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::{Capture, Docker, Engine, World, eventually, masked_json, succeed, unique};

// Its builds have a limit of memory, for which Podman needs a kernel whose version 2 of control groups has the memory.
on_docker!(a_dockerfile_in_a_query_becomes_an_image, the_classic_builder_makes_the_same_image);

const GRANTED: (&str, &str) = ("IMAGES_ALLOWED", "generator=127.0.0.1:*/cts/*");

/// Returns a Dockerfile whose step has not run before, and which shows all that is in its context.
fn dockerfile() -> String {
    format!(
        "FROM image-factory-busybox:1\nCOPY . /context\nRUN find /context -type f > /files && echo a st''ep ran {}\n",
        unique()
    )
}

/// Asks for an image as the README does, and returns the answer.
fn curl(world: &World, name: &str, dockerfile: &str, more: &str) -> String {
    let text = STANDARD.encode(dockerfile).replace('=', "%3D");
    let image = format!("{}/cts/{name}", world.registry.address());
    let address = format!("{}/b1/build?imagename={image}&dockerfile={text}{more}", world.daemon.url());
    let token = format!("x:{}", world.daemon.token());
    let mut command = Command::new("curl");
    String::from_utf8(succeed(command.args(["-fsS", "-u", &token, &address]), b"").stdout).unwrap()
}

/// Follows a job's log by WebSocket to its end, and returns its messages.
async fn stream(world: &World, id: &str) -> Vec<String> {
    let address = format!("{}/b1/build/log/ws/{id}", world.daemon.url().replace("http://", "ws://"));
    let mut request = address.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", world.daemon.token()).parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    let mut messages = Vec::new();
    while let Some(Ok(Message::Text(text))) = socket.next().await {
        messages.push(text.to_string());
    }
    messages
}

/// Follows the log of a job that may still wait.
async fn log_of(world: &World, id: &str) -> Vec<String> {
    let begun = async || Some(stream(world, id).await).filter(|messages| *messages != ["waitting build ..."]);
    eventually(Duration::from_secs(60), "the job has begun", begun).await
}

/// Returns the texts of the engine's messages, which must be one JSON object a line.
fn said(messages: &[String]) -> String {
    let (last, pieces) = messages.split_last().unwrap();
    assert_eq!(last, "bye");
    let values = pieces
        .concat()
        .split_terminator("\r\n")
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .collect::<Vec<_>>();
    values.iter().map(|value| value["stream"].as_str().or(value["error"].as_str()).unwrap()).collect()
}

async fn a_dockerfile_in_a_query_becomes_an_image(docker: Docker) {
    builds(docker, "auto").await;
}

async fn the_classic_builder_makes_the_same_image(docker: Docker) {
    builds(docker, "classic").await;
}

async fn builds(docker: Docker, builder: &str) {
    let capture = Capture::start(&[200; 2]);
    let settings = [
        GRANTED,
        ("BUILDER", builder),
        ("HOOK_POST_URL", &capture.url()),
        ("DOCKERFILE", "docker/main"),
        ("IMAGE_TAGS", "latest,{sha}"),
    ];
    let world = World::start_at(Engine::of(docker), &settings).await;
    let dockerfile = dockerfile();
    let id = curl(&world, "example:v1", &dockerfile, "&memory=134217728");
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id:?}");
    let messages = log_of(&world, &id).await;
    let job = world.daemon.wait_success(&id).await;
    let blob = succeed(Command::new("git").args(["hash-object", "--stdin"]), dockerfile.as_bytes()).stdout;
    let blob = String::from_utf8(blob).unwrap().trim().to_owned();
    let registry = world.registry.address();
    let values = [
        (job["id"].as_str().unwrap(), "job"),
        (blob.as_str(), "blob"),
        (registry.as_str(), "registry"),
        (dockerfile.as_str(), "dockerfile"),
    ];
    insta::assert_snapshot!("generator_job", masked_json(&job, &values));

    let image = format!("{registry}/cts/example:v1");
    assert_eq!(
        job["digest"].as_str().map(str::to_owned),
        world.registry.manifest("cts/example", "v1").await.map(|found| found.0)
    );
    assert_eq!(world.engine.run(&image, &["cat", "/files"]), "/context/Dockerfile");
    let labels: Value = serde_json::from_str(&world.engine.inspect(&image, "{{json .Config.Labels}}")).unwrap();
    assert!(labels.get("org.opencontainers.image.source").is_none(), "{labels}");
    let text = said(&messages);
    assert!(text.contains("a step ran") && text.contains("\nSuccessfully built "), "{text}");
    assert_eq!(text.contains("BuildKit has no limits for steps: memory is passed over"), builder == "auto", "{text}");

    // The hook names the Dockerfile by the id that Git gives it.
    let sent = capture.wait(1, Duration::from_secs(30)).await;
    let body: Value = serde_json::from_slice(&sent[0].body).unwrap();
    assert_eq!(
        (&body["git"]["owner"], &body["git"]["commit"], &body["commit"]),
        (&json!("generator"), &json!(blob), &json!(blob))
    );

    // A rebuild has the same Dockerfile, and another Dockerfile of the same size is not taken for it.
    let rebuilt = world.daemon.request(Method::POST, &format!("/job/{id}/rebuild")).send().await.unwrap();
    let rebuilt: Value = rebuilt.json().await.unwrap();
    let rebuilt = world.daemon.wait_success(rebuilt["id"].as_str().unwrap()).await;
    assert_eq!((&rebuilt["dockerfile"], &rebuilt["image"]), (&json!(dockerfile), &job["image"]));
    let other = dockerfile.replace("a st''ep", "A st''ep");
    let id = curl(&world, "example:v1", &other, "");
    let text = said(&log_of(&world, &id).await);
    world.daemon.wait_success(&id).await;
    assert!(text.contains("A step ran") && !text.contains("a step ran"), "{text}");
    let shown = world.daemon.cli(&["show", &id]).run();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(&format!("a Dockerfile of {} bytes", other.len())), "{shown}");
    world.engine.remove_images(&format!("reference={registry}/cts/*"));
}

#[tokio::test]
async fn a_log_is_the_same_after_a_restart_and_a_failure_is_told() {
    let mut world = World::start_with(&[GRANTED]).await;
    let id = curl(&world, "broken", &format!("FROM image-factory-busybox:1\nRUN echo {} && exit 7\n", unique()), "");
    let live = log_of(&world, &id).await;
    let job = world.daemon.wait_failure(&id).await;
    assert_eq!((&job["class"], &job["results"]["clone"]["status"]), (&json!("dockerfile"), &json!("success")));
    let failure: Value = serde_json::from_str(live[live.len() - 2].trim_end()).unwrap();
    let cause = job["cause"].as_str().unwrap();
    assert!(cause.contains("exit code 7"), "{cause}");
    assert_eq!(failure, json!({"errorDetail": {"message": cause}, "error": cause}));

    let missing = curl(&world, "missing", "FROM image-factory-busybox:1\nCOPY app /\n", "");
    let job = world.daemon.wait_failure(&missing).await;
    let why = "the Dockerfile came with the request and without other files, so there is no app";
    assert!(job["cause"].as_str().unwrap().contains(why), "{job:#}");

    world.daemon.term(Duration::from_secs(30)).await;
    world.daemon.restart().await;
    assert_eq!(stream(&world, &id).await.concat(), live.concat());
    let mut pieces = Vec::new();
    while pieces.last().is_none_or(|last| last != "bye") {
        let path = format!("/b1/build/log/http/{id}?count={}", pieces.len());
        let piece = world.daemon.request(Method::GET, &path).send().await.unwrap().text().await.unwrap();
        assert!(!piece.is_empty(), "{pieces:?}");
        pieces.push(piece);
    }
    assert_eq!(pieces.concat(), live.concat());
}

/// A job that its daemon's death has interrupted runs again, and its log by WebSocket has both attempts.
#[tokio::test]
async fn a_job_of_a_dockerfile_survives_a_kill() {
    let mut world = World::start_with(&[GRANTED]).await;
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo {} && sleep 3\n", unique());
    let id = curl(&world, "killed", &dockerfile, "&nocache=1");
    world.daemon.wait_stage(&id, "build").await;
    world.daemon.kill9();
    world.daemon.restart().await;
    let text = said(&log_of(&world, &id).await);
    let job = world.daemon.wait_success(&id).await;
    assert!(
        job["attempt"] == 2 && text.contains("[attempt 2: the daemon stopped during attempt 1]"),
        "{job:#}\n{text}"
    );

    let endless = curl(&world, "endless", "FROM image-factory-busybox:1\nRUN sleep 1000\n", "");
    world.daemon.wait_stage(&endless, "build").await;
    let cancelled = world.daemon.cli(&["cancel", &endless]).run();
    assert!(cancelled.status.success(), "{cancelled:?}");
    let text = said(&log_of(&world, &endless).await);
    assert!(text.ends_with("cancelled"), "{text}");
    world.engine.remove_images(&format!("reference={}/cts/*", world.registry.address()));
}
