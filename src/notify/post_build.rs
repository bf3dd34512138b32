//! The post-build hook: `POST HOOK_POST_URL`, as totem's docker-image-factory 0.8.3 sent it, and beside it the headers of
//! Standard Webhooks (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Url, header};
use serde::Serialize;
use serde_json::{Map, Value};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::NotifyConfig;
use super::send_error::Failure;
use crate::model::{CommitId, FailureClass, Job, JobId, Millis, Status, TagResult};
use crate::outbound::{self, is_forbidden_target};
use crate::store::{NewNotification, Notification};

pub(super) const CHANNEL: &str = "post-build";

/// The body: the original's names in its order, then ours.
#[derive(Serialize)]
struct Body<'a> {
    git: Git<'a>,
    r#type: &'static str,
    name: &'static str,
    /// success or failed
    status: &'static str,
    result: Built<'a>,
    job: JobLink,
    /// The full id of the commit that was built, once it was found.
    commit: Option<&'a CommitId>,
    digest: Option<&'a str>,
    tags: &'a [TagResult],
    class: Option<FailureClass>,
    cause: Option<&'a str>,
    cancelled: bool,
    /// The names of the request that we do not know.
    extra: Map<String, Value>,
}

#[derive(Serialize)]
struct JobLink {
    id: JobId,
    url: String,
}

#[derive(Serialize)]
struct Git<'a> {
    owner: &'a str,
    repo: &'a str,
    /// The branch or tag, as it was sent.
    r#ref: &'a str,
    /// The one that was asked for: an id, or `HEAD`.
    commit: &'a str,
}

#[derive(Serialize)]
struct Built<'a> {
    image: &'a str,
}

/// One row a destination, for a job that has ended; none where a newer commit took its place.
pub(super) fn rows(config: &NotifyConfig, job: &Job) -> Vec<NewNotification> {
    if !job.status.is_terminal() || job.superseded_by.is_some() {
        return Vec::new();
    }
    let row = |url: &String| {
        let destination = destination(url);
        let lane = format!("{CHANNEL} {destination} {}", job.id);
        NewNotification { channel: CHANNEL, destination, lane, replaces: false, body: body(config, job) }
    };
    config.post_build.iter().map(row).collect()
}

/// Tells the configured URLs apart without showing one.
pub(super) fn destination(url: &str) -> String {
    hex::encode(&Sha256::digest(url)[..8])
}

/// `wanted` is empty in a row of a version that knew one destination only.
fn find<'a>(config: &'a NotifyConfig, wanted: &str) -> Option<&'a String> {
    config.post_build.iter().find(|url| wanted.is_empty() || destination(url) == wanted)
}

pub(super) fn host(config: &NotifyConfig, destination: &str) -> Option<String> {
    Url::parse(find(config, destination)?).ok()?.host_str().map(str::to_owned)
}

pub(super) async fn send(
    config: &NotifyConfig,
    client: &Client,
    notification: &Notification,
    now: Millis,
) -> Result<(), Failure> {
    let url = find(config, &notification.destination);
    let url = url.ok_or_else(|| Failure::permanent("it is not in HOOK_POST_URL any more"))?;
    let url = Url::parse(url).map_err(|error| Failure::permanent(format!("its address is not valid: {error}")))?;
    if let Some(address) = outbound::literal(&url).filter(|address| is_forbidden_target(*address)) {
        return Err(Failure::permanent(format!("its address is {address}, which is refused")));
    }
    let Notification { id, body, .. } = notification;
    let seconds = now.0 / 1000;
    let mut request = client
        .post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header("X-Hook-Id", id)
        .header("webhook-id", id)
        .header("webhook-timestamp", seconds);
    if let Some(secret) = &config.hook_secret {
        request = request.header("X-Hook-Signature", signature(body, secret));
    }
    if let Some(key) = &config.signing_key {
        request = request.header("webhook-signature", standard_signature(id, seconds, body, key));
    }
    let answer = request.body(body.clone()).send().await?;
    if answer.status().is_success() { Ok(()) } else { Err(Failure::of(&answer, now)) }
}

fn body(config: &NotifyConfig, job: &Job) -> String {
    let context = &job.context;
    let body = Body {
        git: Git { owner: &context.owner, repo: &context.repo, r#ref: &context.branch, commit: &context.commit },
        r#type: "builder",
        name: "image-factory",
        status: if job.status == Status::Success { "success" } else { "failed" },
        result: Built { image: &job.image },
        job: JobLink { id: job.id, url: config.links.job(job.id) },
        commit: job.resolved_commit.as_ref(),
        digest: job.digest.as_deref(),
        tags: &job.tags,
        class: job.class,
        cause: job.cause.as_deref(),
        cancelled: job.status == Status::Cancelled,
        extra: context.callers_own(),
    };
    serde_json::to_string(&body).expect("structs of texts and JSON are JSON")
}

/// The value of `X-Hook-Signature`: HMAC-SHA1 of the body, bare hex.
pub(super) fn signature(body: &str, secret: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// The value of `webhook-signature`.
fn standard_signature(id: &str, seconds: i64, body: &str, key: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body.as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}
