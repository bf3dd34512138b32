//! The post-build hook: `POST HOOK_POST_URL`, as totem's docker-image-factory 0.8.3 sent it.

use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, header};
use serde::Serialize;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::NotifyConfig;
use super::failure::Failure;
use crate::model::{Job, Status};
use crate::store::{NewNotification, Notification};

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

/// One row a destination, for a job that has ended and was not superseded.
pub(super) fn rows(config: &NotifyConfig, job: &Job) -> Vec<NewNotification> {
    if !job.status.is_terminal() || job.superseded_by.is_some() {
        return Vec::new();
    }
    let row = |url: &String| {
        let destination = destination(url);
        let lane = format!("{CHANNEL} {destination} {}", job.id);
        NewNotification { channel: CHANNEL, destination, lane, replaces: false, body: body(job) }
    };
    config.post_build.iter().map(row).collect()
}

/// Tells the configured URLs apart without showing one.
pub(super) fn destination(url: &str) -> String {
    hex::encode(&Sha256::digest(url)[..8])
}

pub(super) async fn send(config: &NotifyConfig, client: &Client, notification: &Notification) -> Result<(), Failure> {
    let url = config.post_build.iter().find(|url| destination(url) == notification.destination);
    let url = url.ok_or_else(|| Failure::permanent("it is not in HOOK_POST_URL any more"))?;
    let mut request = client.post(url).header(header::CONTENT_TYPE, "application/json");
    request = request.header("X-Hook-Id", &notification.id);
    if let Some(secret) = &config.hook_secret {
        request = request.header("X-Hook-Signature", signature(&notification.body, secret));
    }
    let answer = request.body(notification.body.clone()).send().await?;
    if answer.status().is_success() { Ok(()) } else { Err(Failure::answered(answer.status())) }
}

fn body(job: &Job) -> String {
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
fn signature(body: &str, secret: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}
