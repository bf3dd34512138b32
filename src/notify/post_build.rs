//! The post-build hook: `POST HOOK_POST_URL`, as totem's docker-image-factory 0.8.3 sent it.

use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha1::Sha1;

use crate::model::{Job, Status};

pub(super) const CHANNEL: &str = "post-build";

/// The body, its names in the order that the original wrote them in.
#[derive(Serialize)]
struct Body<'a> {
    git: Git<'a>,
    r#type: &'static str,
    name: &'static str,
    /// success or failed
    status: &'static str,
    result: Built<'a>,
}

#[derive(Serialize)]
struct Git<'a> {
    owner: &'a str,
    repo: &'a str,
    /// The branch or tag, as it was sent.
    r#ref: &'a str,
    /// The one that was built; where none was found, the one that was asked for.
    commit: &'a str,
}

#[derive(Serialize)]
struct Built<'a> {
    image: &'a str,
}

pub(super) fn body(job: &Job) -> String {
    let context = &job.context;
    let body = Body {
        git: Git {
            owner: &context.owner,
            repo: &context.repo,
            r#ref: &context.branch,
            commit: job.resolved_commit.as_deref().unwrap_or(&context.commit),
        },
        r#type: "builder",
        name: "image-factory",
        status: if job.status == Status::Success { "success" } else { "failed" },
        result: Built { image: &job.image },
    };
    serde_json::to_string(&body).expect("structs of strings are JSON")
}

/// The value of `X-Hook-Signature`: HMAC-SHA1 of the body, bare hex.
pub(super) fn signature(body: &str, secret: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}
