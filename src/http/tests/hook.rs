use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha1::Sha1;
use sha2::Sha256;

use super::*;

fn sign<M: Mac + KeyInit>(body: &[u8]) -> String {
    let mac = <M as KeyInit>::new_from_slice(SECRET.as_bytes()).unwrap();
    hex::encode(mac.chain_update(body).finalize().into_bytes())
}

fn push(after: &str) -> String {
    json!({"ref": "refs/heads/feature/x", "after": after, "deleted": false, "head_commit": {"id": after},
        "repository": {"name": "hello", "owner": {"name": "acme", "login": "x"}}})
    .to_string()
}

impl Server {
    fn hook(&self, body: &str) -> RequestBuilder {
        let request = self.request("POST", "/hooks/github").header("content-type", "application/json");
        request.header("x-github-event", "push").header("x-github-delivery", "d-1").body(body.to_owned())
    }

    pub(super) fn signed(&self, body: &str) -> RequestBuilder {
        let signature = format!("sha256={}", sign::<Hmac<Sha256>>(body.as_bytes()));
        self.hook(body).header("x-hub-signature-256", signature)
    }
}

#[tokio::test]
async fn a_signed_push_makes_a_job() {
    let server = server(|_| {}).await;
    let answer = send(server.signed(&push("1234"))).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/vnd.sh.melt.cdp.if.job.v1+json");
    assert_eq!(answer.header("link"), r#"</_schema/job>; rel="describedBy""#);
    assert_eq!(
        answer.json()["context"],
        json!({"owner": "acme", "repo": "hello", "branch": "feature/x", "commit": "1234", "github": true,
            "dockerRepoBase": "127.0.0.1:5555/totem", "tag": "1234"})
    );
    let job = &server.store.jobs(1, None).await.unwrap()[0];
    assert!(job.pushed);
    let body = push("5678");
    let signature = format!("sha1={}", sign::<Hmac<Sha1>>(body.as_bytes()));
    assert_eq!(send(server.hook(&body).header("x-hub-signature", signature)).await.status, 201);
}

#[tokio::test]
async fn zeros_make_no_job() {
    let server = server(|_| {}).await;
    assert_eq!(send(server.signed(&push(&"0".repeat(40)))).await.status, 204);
    assert!(server.store.jobs(1, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_same_delivery_is_the_same_job() {
    let server = server(|_| {}).await;
    let first = send(server.signed(&push("1234"))).await;
    assert_eq!(first.header("x-image-factory-duplicate"), "");
    // A replay may come under any id, because the signature covers the body alone.
    let again = send(server.signed(&push("1234")).header("x-github-delivery", "d-2")).await;
    assert_eq!((again.status, again.header("x-image-factory-duplicate")), (201, "true"));
    assert_eq!(again.json(), first.json());
    let other = send(server.signed(&push("12345"))).await;
    assert_ne!(other.json()["id"], first.json()["id"]);
    assert_eq!(server.store.jobs(10, None).await.unwrap().len(), 2);
}

#[tokio::test]
async fn without_a_valid_signature_nothing_happens() {
    let server = server(|_| {}).await;
    let body = push("1234");
    let sha1 = format!("sha1={}", sign::<Hmac<Sha1>>(body.as_bytes()));
    let message = "Mismatch in computed signature and the passed signature of the request payload.";
    for request in [
        server.hook(&body),
        server.hook(&body).header("x-hub-signature", "sha1=invalid"),
        server.hook(&body).header("x-hub-signature-256", "sha256=00"),
        server.hook(&body).header("x-hub-signature-256", "sha256=00").header("x-hub-signature", &sha1),
        server.hook(&push("12345")).header("x-hub-signature", &sha1),
        server.hook(&body).bearer_auth("admin".repeat(8)),
    ] {
        assert_eq!(send(request).await.error(), (401, "InvalidCredentials".into(), message.into()));
    }
    assert!(server.store.jobs(10, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn other_events_and_deletions_make_no_job() {
    let server = server(|_| {}).await;
    let deleted = json!({"ref": "refs/heads/x", "after": "0".repeat(40), "deleted": true, "head_commit": null,
        "repository": {"name": "hello", "owner": {"login": "acme"}}})
    .to_string();
    let answer = send(server.signed(&deleted)).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    for event in ["ping", "pull_request", "PUSH"] {
        let mut request = server.signed(&push("1234")).build().unwrap();
        request.headers_mut().insert("x-github-event", event.parse().unwrap());
        assert_eq!(server.http.execute(request).await.unwrap().status(), 204, "{event}");
    }
    let mut request = server.signed("{}").build().unwrap();
    request.headers_mut().remove("x-github-event");
    assert_eq!(server.http.execute(request).await.unwrap().status(), 204);
    assert!(server.store.jobs(10, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_form_is_read_too() {
    let server = server(|_| {}).await;
    let form: String = form_urlencoded::Serializer::new(String::new()).append_pair("payload", &push("1234")).finish();
    let mut request = server.signed(&form).build().unwrap();
    request.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    assert_eq!(server.http.execute(request).await.unwrap().status(), 201);
    assert_eq!(server.store.jobs(1, None).await.unwrap()[0].context.branch, "feature/x");
}

/// A signature covers neither the event's name nor the media type, so a replay may change both.
#[tokio::test]
async fn what_was_signed_as_something_else_is_no_push() {
    let server = server(|_| {}).await;
    let mut comment: Value = serde_json::from_str(&push("1234")).unwrap();
    comment["action"] = json!("created");
    let mut own_hook: Value = serde_json::from_str(&push("1234")).unwrap();
    own_hook["git"] = json!({"owner": "acme", "repo": "hello", "ref": "x", "commit": "1234"});
    let hidden = format!("&payload={}&", form_urlencoded::byte_serialize(push("1234").as_bytes()).collect::<String>());
    for body in [comment.to_string(), own_hook.to_string(), json!({ "zen": hidden }).to_string()] {
        for media_type in ["application/json", "application/x-www-form-urlencoded"] {
            let mut request = server.signed(&body).build().unwrap();
            request.headers_mut().insert("content-type", media_type.parse().unwrap());
            let answer = server.http.execute(request).await.unwrap();
            assert_eq!(answer.status(), 204, "{media_type} {body}");
            assert_eq!(answer.headers()["x-image-factory-skipped"], "the event is no push of a branch or tag");
        }
    }
    // A push without its fields, and a form with others.
    for body in
        [r#"{"repository":{"name":"hello","owner":{"login":"acme"}}}"#, r#"{"ref":"refs/heads/x"}"#, &hidden[1..]]
    {
        assert_eq!(send(server.signed(body)).await.status, 400, "{body}");
    }
    assert!(server.store.jobs(1, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_push_that_cannot_be_built_is_refused() {
    let server = server_with(|_| {}, |rules| rules.allow_repos = vec!["other".into()]).await;
    assert_eq!(send(server.signed(&push("1234"))).await.status, 403);
    let answer = send(server.signed(r#"{"repository":{"name":"hello"}}"#)).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["message"][0]["message"], "Missing required property: owner");
    assert_eq!(answer.json()["message"][0]["path"], "#/repository");
    let (status, code, message) = send(server.signed("{b")).await.error();
    assert_eq!((status, code.as_str()), (400, "InvalidContent"));
    assert!(message.starts_with("Invalid JSON: "));
    assert!(server.store.jobs(10, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn without_a_secret_the_answer_says_what_to_set() {
    for secret in [None, Some(Zeroizing::new(String::new()))] {
        let server = server(|config| config.hook_secret = secret).await;
        let (status, _, message) = send(server.signed(&push("1234"))).await.error();
        assert_eq!(status, 503);
        assert!(message.contains("HOOK_SECRET"), "{message}");
    }
}

#[tokio::test]
async fn a_body_of_githubs_largest_size_is_taken_and_none_larger() {
    let server = server(|_| {}).await;
    let pad = |size: usize| {
        let mut body = push("1234");
        body.insert_str(1, &" ".repeat(size));
        body
    };
    let fits = pad((25 << 20) - push("1234").len());
    assert_eq!(fits.len(), 25 << 20);
    assert_eq!(send(server.signed(&fits)).await.status, 201);
    let (status, code, _) = send(server.hook(&pad(25 << 20))).await.error();
    assert_eq!((status, code.as_str()), (413, "RequestEntityTooLargeError"));
}

/// Odd names are accepted: the job fails by Git's names, and the image's name is made valid.
#[tokio::test]
async fn a_signed_push_never_fails_by_its_names() {
    let server = server(|_| {}).await;
    for (owner, repo, branch, after, image) in [
        ("Acme", "Hello", "feature/x", "1234", "acme-hello:1234"),
        ("acme", "a..b", "日本/#@", "HEAD", "acme-a-b-"),
        ("-", ".", "", "--help", "x-"),
        ("a/b", "c:d", "refs", "a/b c", "a-b-c-d-"),
    ] {
        let body = json!({"ref": format!("refs/heads/{branch}"), "after": after,
            "repository": {"name": repo, "owner": {"name": owner}}})
        .to_string();
        let answer = send(server.signed(&body)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let made = answer.json();
        let made = made["image"].as_str().unwrap();
        assert!(made.starts_with(&format!("127.0.0.1:5555/totem/{image}")), "{made}");
        assert!(crate::model::ImageRef::parse(made).is_ok(), "{made}");
    }
}

#[tokio::test]
async fn a_name_with_a_control_character_makes_no_job() {
    let server = server(|_| {}).await;
    let name = "a\u{1b}b";
    for (pointer, property, what) in [
        ("/ref", "branch", "branch or ref"),
        ("/after", "commit", "commit"),
        ("/repository/name", "repo", "repo"),
        ("/repository/owner/name", "owner", "owner"),
    ] {
        let mut payload: Value = serde_json::from_str(&push("1234")).unwrap();
        *payload.pointer_mut(pointer).unwrap() = name.into();
        let mut body = json!({"owner": "acme", "repo": "hello", "branch": "x", "commit": "1234"});
        body[property] = name.into();
        let message = format!(r"the {what} a\u{{1b}}b has a control character, which no such name has");
        let by_body = server.post("/job", &body.to_string()).await;
        for answer in [send(server.signed(&payload.to_string())).await, by_body] {
            let violation = &answer.json()["message"][0];
            assert_eq!(
                (answer.status, &violation["message"], &violation["path"]),
                (400, &json!(message), &json!(format!("#/{property}")))
            );
        }
    }
    assert!(server.store.jobs(1, None).await.unwrap().is_empty());
}
