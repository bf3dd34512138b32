//! Webhooks of Gitea, Forgejo, Gogs and Bitbucket: the headers and bodies that those send, and the answers.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use super::*;
use crate::model::RefGlob;

const COMMIT: &str = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d";

fn sign(text: &str) -> String {
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(SECRET.as_bytes()).unwrap();
    hex::encode(mac.chain_update(text).finalize().into_bytes())
}

/// Returns a push as Gitea writes it: indented by two spaces, without `deleted` and `forced`.
fn gitea_push(git_ref: &str, after: &str) -> String {
    let body = json!({
        "ref": git_ref, "before": "0".repeat(40), "after": after,
        "compare_url": "https://git.acme.org/acme/hello/compare/0000000...1a2b3c4",
        "commits": null, "total_commits": 0, "head_commit": null,
        "repository": {
            "id": 7, "name": "hello", "full_name": "acme/hello", "private": true, "fork": false, "default_branch": "main",
            "owner": {"id": 1, "login": "acme", "login_name": "", "full_name": "Acme & Söhne", "username": "acme"},
            "clone_url": "https://git.acme.org/acme/hello.git", "ssh_url": "git@git.acme.org:acme/hello.git"
        },
        "pusher": {"id": 2, "login": "ada", "username": "ada"}, "sender": {"id": 2, "login": "ada", "username": "ada"},
    });
    serde_json::to_string_pretty(&body).unwrap()
}

/// Headers with which a forge sends this JSON, as its source has them. `event` is the one of `X-…-Event`.
fn headers_of(forge: &str, event: &str, json: &str) -> Vec<(String, String)> {
    let signature = sign(json);
    let mut headers = Vec::new();
    let names: &[&str] = match forge {
        "forgejo" => &["forgejo", "gitea", "gogs", "github"],
        "gitea" => &["gitea", "gogs", "github"],
        _ => &["gogs", "github"],
    };
    for name in names {
        headers.push((format!("x-{name}-event"), event.to_owned()));
        headers.push((format!("x-{name}-delivery"), "f6266f16-1bf3-46a5-9ea4-602e06ead473".into()));
        if *name != "github" {
            headers.push((format!("x-{name}-signature"), signature.clone()));
        }
    }
    // Gogs sends neither of these two.
    if forge != "gogs" {
        headers.push(("x-hub-signature-256".into(), format!("sha256={signature}")));
    }
    headers
}

impl Server {
    fn delivery(&self, forge: &str, event: &str, json: &str, is_form: bool) -> RequestBuilder {
        let (media_type, body) = match is_form {
            true => (
                "application/x-www-form-urlencoded",
                form_urlencoded::Serializer::new(String::new()).append_pair("payload", json).finish(),
            ),
            false => ("application/json", json.to_owned()),
        };
        let request = self.request("POST", "/hooks/github").header("content-type", media_type).body(body);
        headers_of(forge, event, json).into_iter().fold(request, |request, (name, value)| request.header(name, value))
    }
}

#[tokio::test]
async fn a_push_of_each_forge_is_its_commit_as_json_and_as_a_form() {
    for (forge, is_form) in ["gitea", "forgejo", "gogs"].into_iter().flat_map(|forge| [(forge, false), (forge, true)]) {
        let server = server(|_| {}).await;
        for (git_ref, branch) in [("refs/heads/feature/x", "feature/x"), ("refs/tags/v1.2.3", "v1.2.3")] {
            let answer = send(server.delivery(forge, "push", &gitea_push(git_ref, COMMIT), is_form)).await;
            assert_eq!(answer.status, 201, "{forge} {is_form}: {}", answer.text());
            let context = &answer.json()["context"];
            assert_eq!((&context["owner"], &context["repo"]), (&json!("acme"), &json!("hello")));
            assert_eq!((&context["branch"], &context["commit"]), (&json!(branch), &json!(COMMIT)));
        }
        let deliveries = server.store.deliveries(&Default::default(), 1, None).await.unwrap();
        assert_eq!(deliveries[0].delivery_id.as_deref(), Some("f6266f16-1bf3-46a5-9ea4-602e06ead473"), "{forge}");
        assert_eq!(deliveries[0].git_ref.as_deref(), Some("refs/tags/v1.2.3"));
    }
}

#[tokio::test]
async fn what_is_deleted_or_no_push_makes_no_job() {
    let server = server(|_| {}).await;
    for (forge, event, json) in [
        ("gitea", "push", gitea_push("refs/tags/v1", &"0".repeat(40))),
        ("forgejo", "push", gitea_push("refs/tags/v1", &"0".repeat(64))),
        ("gogs", "push", gitea_push("refs/heads/main", &"0".repeat(40))),
        ("gitea", "create", gitea_push("v1", COMMIT)),
        ("gitea", "pull_request", "{}".into()),
        ("gogs", "delete", "{}".into()),
    ] {
        for is_form in [false, true] {
            let answer = send(server.delivery(forge, event, &json, is_form)).await;
            assert_eq!((answer.status, answer.text().as_str()), (204, ""), "{forge} {event}");
        }
    }
    assert!(server.store.jobs(1, None).await.unwrap().is_empty());
}

/// Gogs reports no push of a tag.
#[tokio::test]
async fn a_tag_of_gogs_is_built() {
    let server = server(|_| {}).await;
    let created = |kind: &str| {
        json!({"ref": "v1.2.3", "ref_type": kind, "sha": COMMIT, "default_branch": "master",
            "repository": {"name": "hello", "owner": {"login": "acme", "username": "acme"}}})
        .to_string()
    };
    assert_eq!(send(server.delivery("gogs", "create", &created("branch"), false)).await.status, 204);
    let answer = send(server.delivery("gogs", "create", &created("tag"), false)).await;
    assert_eq!((answer.status, &answer.json()["context"]["commit"]), (201, &json!(COMMIT)), "{}", answer.text());
    let job = &server.store.jobs(1, None).await.unwrap()[0];
    assert_eq!((job.git_ref.as_deref(), job.pushed), (Some("refs/tags/v1.2.3"), true));
    assert!(!job.context.github, "its commit would get a status at GitHub");
}

/// The signature covers the payload alone, which a replay may send as JSON, too. A form with other fields is none.
#[tokio::test]
async fn the_same_payload_is_the_same_delivery_however_it_is_sent() {
    let server = server(|_| {}).await;
    let json = gitea_push("refs/heads/main", COMMIT);
    let first = send(server.delivery("gitea", "push", &json, true)).await;
    assert_eq!((first.status, first.header("x-image-factory-duplicate")), (201, ""));
    let padded =
        form_urlencoded::Serializer::new(String::new()).append_pair("a", "1").append_pair("payload", &json).finish();
    let padded = server.delivery("gitea", "push", &json, true).body(padded);
    assert_eq!(send(padded).await.status, 401);
    let answer = send(server.delivery("forgejo", "push", &json, false)).await;
    assert_eq!((answer.status, answer.header("x-image-factory-duplicate")), (201, "true"));
    assert_eq!(answer.json()["id"], first.json()["id"]);
}

#[tokio::test]
async fn a_signature_of_another_text_is_refused() {
    let server = server(|_| {}).await;
    let (json, other) = (gitea_push("refs/heads/main", COMMIT), gitea_push("refs/heads/other", COMMIT));
    for forge in ["gitea", "forgejo", "gogs"] {
        for is_form in [false, true] {
            let forged = server.delivery(forge, "push", &json, is_form);
            let body = form_urlencoded::Serializer::new(String::new()).append_pair("payload", &other).finish();
            let answer = send(forged.body(if is_form { body } else { other.clone() })).await;
            assert_eq!(answer.status, 401, "{forge} {is_form}");
        }
    }
    // GitHub signs a form as a whole.
    let form: String = form_urlencoded::Serializer::new(String::new()).append_pair("payload", &json).finish();
    let request = server.request("POST", "/hooks/github").header("x-github-event", "push");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let request = request.header("x-hub-signature-256", format!("sha256={}", sign(&json)));
    assert_eq!(send(request.body(form)).await.status, 401);
    assert!(server.store.jobs(1, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_forge_that_is_not_read_is_told_so() {
    let server = server(|_| {}).await;
    let bitbucket = |event: &str, body: &str| {
        let request = server.request("POST", "/hooks/github").header("x-event-key", event);
        request.header("x-hub-signature", format!("sha256={}", sign(body))).body(body.to_owned())
    };
    let gitlab = server.request("POST", "/hooks/github").header("x-gitlab-event", "Push Hook");
    let answer = send(gitlab.header("x-gitlab-token", SECRET).body("{}")).await;
    let message = "The pushes of GitLab are not read here yet: have its pipeline ask for the job by POST /job";
    assert_eq!(answer.error(), (501, "NotImplementedError".into(), message.into()));
    for event in ["repo:push", "repo:refs_changed"] {
        let (status, _, message) = send(bitbucket(event, r#"{"push":{"changes":[]}}"#)).await.error();
        assert_eq!((status, message.starts_with("The pushes of Bitbucket are")), (501, true), "{message}");
        let unsigned = server.request("POST", "/hooks/github").header("x-event-key", event).body("{}");
        assert_eq!(send(unsigned).await.status, 401);
    }
    assert_eq!(send(bitbucket("pullrequest:created", "{}")).await.status, 204);
    assert!(server.store.jobs(1, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_push_that_the_settings_skip_is_listed_and_can_be_replayed() {
    let globs = |kind: &str, glob: &str| vec![RefGlob::parse(kind, glob).unwrap()];
    let selection = Selection {
        branches: globs(RefGlob::BRANCHES, "main"),
        tags: Some(globs(RefGlob::TAGS, "v*")),
        skip_words: true,
        no_forks: true,
    };
    let server = server_with(|_| {}, |rules| rules.selection = selection).await;
    let with_message = |git_ref: &str, message: &str| {
        let mut body: Value = serde_json::from_str(&gitea_push(git_ref, COMMIT)).unwrap();
        body["head_commit"] = json!({"id": COMMIT, "message": message});
        body.to_string()
    };
    let fork = gitea_push("refs/heads/main", COMMIT).replace("\"fork\": false", "\"fork\": true");
    let words = "the commit's message has [skip ci] or [ci skip], and SKIP_WORDS is set";
    for (json, reason) in [
        (gitea_push("refs/heads/wip", COMMIT), "BRANCHES does not name this branch"),
        (gitea_push("refs/tags/nightly", COMMIT), "GIT_TAGS does not name this tag"),
        (with_message("refs/heads/main", "Typo [CI skip]"), words),
        (fork, "the repository is a fork, and BUILD_FORKS=0 leaves forks out"),
        (gitea_push("refs/tags/v1", &"0".repeat(40)), "the push deleted its branch or tag"),
    ] {
        for _ in 0..2 {
            let answer = send(server.delivery("gitea", "push", &json, false)).await;
            assert_eq!((answer.status, answer.header("x-image-factory-skipped")), (204, reason));
        }
    }
    let ping = send(server.delivery("gitea", "release", "{}", false)).await;
    assert_eq!(ping.header("x-image-factory-skipped"), "the event is no push of a branch or tag");
    assert!(server.store.jobs(1, None).await.unwrap().is_empty());

    let listed = send(server.as_role("read", "GET", "/deliveries")).await.json();
    let seen: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|delivery| ["forge", "ref", "skipped", "job", "repeats"].map(|name| delivery[name].clone()))
        .collect();
    assert_eq!(
        json!(seen),
        json!([
            ["gitea", "refs/heads/wip", "branches", null, 1],
            ["gitea", "refs/tags/nightly", "git-tags", null, 1],
            ["gitea", "refs/heads/main", "skip-words", null, 1],
            ["gitea", "refs/heads/main", "fork", null, 1],
        ])
    );
    // A person decides otherwise.
    let id = listed[0]["id"].as_str().unwrap();
    let answer = send(server.as_role("build", "POST", &format!("/deliveries/{id}/replay"))).await;
    assert_eq!((answer.status, &answer.json()["context"]["commit"]), (201, &json!(COMMIT)));
    let job = &server.store.jobs(1, None).await.unwrap()[0];
    assert_eq!((job.git_ref.as_deref(), job.pushed), (Some("refs/heads/main"), true));
    assert_eq!(job.default_branch.as_deref(), Some("main"));

    // A named branch is built, and so is a release's tag, even if its commit says otherwise.
    for json in [with_message("refs/heads/main", "Fix"), with_message("refs/tags/v1", "Release [skip ci]")] {
        assert_eq!(send(server.delivery("gitea", "push", &json, false)).await.status, 201);
    }
}
