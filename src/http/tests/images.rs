//! Tests of the image that a request gets: by its Dockerfile, by its own choice, by a grant.

use serde_json::json;

use super::*;
use crate::model::ImageGrants;

async fn make(server: &Server, role: &str, build: Value) -> Answer {
    make_with(server, role, json!({"build": build})).await
}

async fn make_with(server: &Server, role: &str, more: Value) -> Answer {
    let mut body = json!({"owner": "acme", "repo": "mono", "tag": "v1"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request = server.as_role(role, "POST", "/job").header("content-type", "application/json");
    send(request.body(body.to_string())).await
}

#[tokio::test]
async fn a_job_gets_the_image_that_it_asks_for() {
    let server =
        server_with(|_| {}, |rules| rules.destinations.grants = ImageGrants::parse(["acme/mono=r.io/x/*"]).unwrap())
            .await;
    for (request, image) in [
        (json!({}), "127.0.0.1:5555/totem/acme-mono:v1"),
        (json!({"build": {"dockerfile": "Dockerfile", "target": "test"}}), "127.0.0.1:5555/totem/acme-mono:v1"),
        (json!({"build": {"dockerfile": "services/api/Dockerfile"}}), "127.0.0.1:5555/totem/acme-mono/api:v1"),
        (json!({"build": {"dockerfile": "Dockerfile.web"}}), "127.0.0.1:5555/totem/acme-mono/web:v1"),
        (json!({"build": {"image": "site"}}), "127.0.0.1:5555/totem/acme-mono/site:v1"),
        (json!({"build": {"image": "site"}, "dockerRepoBase": "q.io/other"}), "q.io/other/acme-mono/site:v1"),
        (
            json!({"build": {"image": "127.0.0.1:5555/totem/acme-mono/x"}, "tag": "v2"}),
            "127.0.0.1:5555/totem/acme-mono/x:v2",
        ),
        (json!({"build": {"image": "r.io/x/site"}}), "r.io/x/site:v1"),
        (json!({"build": {"image": null}}), "127.0.0.1:5555/totem/acme-mono:v1"),
        (json!({"build": 17, "image": "site", "dockerfile": "x"}), "127.0.0.1:5555/totem/acme-mono:v1"),
    ] {
        let answer = make_with(&server, "admin", request.clone()).await;
        assert_eq!((answer.status, &answer.json()["image"]), (201, &json!(image)), "{request}");
        for (name, value) in request.as_object().unwrap() {
            assert_eq!(&answer.json()["context"][name], value);
        }
    }
    // Both jobs are pending, so the second one has another name.
    let first = make(&server, "build", json!({"dockerfile": "services/api/Dockerfile"})).await.json();
    let second = make(&server, "build", json!({"dockerfile": "libs/api/Dockerfile"})).await.json();
    assert_eq!(first["image"], "127.0.0.1:5555/totem/acme-mono/api:v1");
    assert!(second["image"].as_str().unwrap().starts_with("127.0.0.1:5555/totem/acme-mono/api-"), "{second}");
}

#[tokio::test]
async fn another_image_needs_a_grant_from_everybody() {
    let server = server(|_| {}).await;
    for role in ["build", "admin"] {
        let answer = make(&server, role, json!({"image": "quay.io/acme/site"})).await;
        let message = "quay.io/acme/site is not below 127.0.0.1:5555/totem/acme-mono: leave the name to the daemon, or have its \
                       operator set IMAGES_ALLOWED=acme/mono=quay.io/acme/site";
        assert_eq!(answer.error(), (403, "NotAuthorized".into(), message.into()));
    }
    for image in [json!("site:v1"), json!("a/../b"), json!("Site"), json!("x".repeat(250)), json!(5)] {
        let answer = make(&server, "build", json!({"image": image})).await;
        let (status, code, _) = answer.error();
        let violation = &answer.json()["message"][0];
        assert_eq!((status, &*code, &violation["path"]), (400, "InvalidContent", &json!("#/build/image")), "{image}");
    }
    assert_eq!(server.get("/job").await.json(), json!([]));
}

#[tokio::test]
async fn a_rebuild_keeps_its_name_while_it_is_allowed() {
    let server = server(|_| {}).await;
    for options in [json!({"dockerfile": "services/api/Dockerfile"}), json!({"image": "api"})] {
        let made = make(&server, "build", options).await.json();
        let job = server.claim().await;
        server.finish(&job, Status::Success, Stages::pending()).await;
        let answer = send(server.as_role("build", "POST", &format!("/job/{}/rebuild", job.id))).await;
        assert_eq!((answer.status, &answer.json()["image"]), (201, &made["image"]));
        let job = server.claim().await;
        server.finish(&job, Status::Success, Stages::pending()).await;
    }
    // This job was made when there was a grant.
    let context = server.store.jobs(1, None).await.unwrap().remove(0).context;
    let extra = json!({"build": {"image": "quay.io/acme/site"}}).as_object().unwrap().clone();
    let granted = crate::model::JobContext { extra, ..context };
    server.store.add_job(crate::model::NewJob::new(granted, "quay.io/acme/site:v1".into()), None).await.unwrap();
    let job = server.claim().await;
    server.finish(&job, Status::Success, Stages::pending()).await;
    let answer = send(server.as_role("admin", "POST", &format!("/job/{}/rebuild", job.id))).await;
    assert_eq!((answer.status, answer.error().2.contains("IMAGES_ALLOWED=acme/mono=quay.io/acme/site")), (403, true));
}

/// `acme/hello-` has the name `acme-hello-eee1f5b8` by its hash, and `acme/hello-eee1f5b8` has it by the template.
#[tokio::test]
async fn a_name_that_a_hash_gives_to_two_repositories_stays_with_the_first() {
    const NAME: &str = "127.0.0.1:5555/totem/acme-hello-eee1f5b8";
    let build = async |server: &Server, repo: &str, build: Value| {
        let answer = make_with(server, "admin", json!({"repo": repo, "build": build})).await;
        (answer.status, answer.json()["image"].as_str().unwrap_or_default().to_owned())
    };
    for (first, second) in [("hello-", "hello-eee1f5b8"), ("hello-eee1f5b8", "hello-")] {
        let server = server(|_| {}).await;
        let name = format!("{NAME}:v1");
        assert_eq!(build(&server, first, json!({})).await, (201, name.clone()));
        let (status, other) = build(&server, second, json!({})).await;
        let stem = format!("127.0.0.1:5555/totem/acme-{}-", second.trim_end_matches('-'));
        let hash = other.strip_prefix(&stem).and_then(|end| end.strip_suffix(":v1")).unwrap();
        assert!(status == 201 && hash.len() == 16, "{other}");
        // Both keep their names, and what is below them is theirs.
        assert_eq!(build(&server, first, json!({})).await.1, name);
        assert_eq!(build(&server, second, json!({})).await.1, other);
        let below = other.replace(":v1", "/api:v1");
        assert_eq!(build(&server, second, json!({"image": "api"})).await.1, below);
        assert_eq!(build(&server, first, json!({"image": format!("{NAME}/api")})).await.1, format!("{NAME}/api:v1"));
        assert_eq!(build(&server, second, json!({"image": NAME})).await.0, 403);
    }
}

#[tokio::test]
async fn repositories_that_the_template_alone_brings_together_share_a_name() {
    let server = server(|_| {}).await;
    for (owner, repo) in [("a-b", "c-eee1f5b8"), ("a", "b-c-eee1f5b8")] {
        let answer = make_with(&server, "admin", json!({"owner": owner, "repo": repo})).await;
        assert_eq!(answer.json()["image"], "127.0.0.1:5555/totem/a-b-c-eee1f5b8:v1");
    }
}

/// On Docker Hub the web image of `acme/mono` is beside the repository's own, where another repository's own name can be.
#[tokio::test]
async fn a_name_beside_stays_with_the_first_repository_too() {
    let build = async |server: &Server, repo: &str, dockerfile: &str| {
        let body = json!({"repo": repo, "dockerRepoBase": "docker.io/acme", "build": {"dockerfile": dockerfile}});
        let answer = make_with(server, "admin", body).await;
        assert_eq!(answer.status, 201, "{repo} {dockerfile}");
        answer.json()["image"].as_str().unwrap().to_owned()
    };
    let web = build(&server(|_| {}).await, "mono", "Dockerfile.web").await;
    let beside = web.strip_prefix("docker.io/acme/acme-").unwrap().strip_suffix(":v1").unwrap();
    assert!(beside.starts_with("mono-web-") && beside.len() == "mono-web-".len() + 8, "{beside}");
    let has_long_hash = |image: &str| image.rsplit_once('-').unwrap().1.len() == 16 + ":v1".len();
    for order in [["mono", beside], [beside, "mono"]] {
        let server = server(|_| {}).await;
        let dockerfile = |repo: &str| if repo == "mono" { "Dockerfile.web" } else { "Dockerfile" };
        let [first, second] = [
            build(&server, order[0], dockerfile(order[0])).await,
            build(&server, order[1], dockerfile(order[1])).await,
        ];
        assert!(first == web && has_long_hash(&second), "{first} {second}");
        // Both keep their names.
        assert_eq!(build(&server, order[0], dockerfile(order[0])).await, first);
        assert_eq!(build(&server, order[1], dockerfile(order[1])).await, second);
    }
}
