//! The post-build hook: `POST HOOK_POST_URL`, as totem's docker-image-factory 0.8.3 sent it, and beside it the headers of
//! Standard Webhooks (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Url, header};
use serde::Serialize;
use serde_json::{Map, Value};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::channel::Channel;
use super::send_error::SendError;
use super::summary::JobLinks;
use crate::model::{CommitId, FailureClass, Job, JobId, Millis, Status, TagResult};
use crate::outbound::{self, Route, is_forbidden_target};
use crate::store::{NewNotification, Notification};

pub(super) const NAME: &str = "post-build";
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Default)]
pub struct PostBuildConfig {
    /// HOOK_POST_URL
    pub urls: Vec<String>,
    /// HOOK_POST_SECRET, or HOOK_SECRET without one. It signs the body.
    pub secret: Option<Zeroizing<String>>,
    /// HOOK_SIGNING_KEY, which signs the body as Standard Webhooks asks.
    pub signing_key: Option<Zeroizing<Vec<u8>>>,
    pub links: JobLinks,
}

/// Posts the result of each job to every URL.
pub struct PostBuild {
    config: PostBuildConfig,
    client: Client,
}

/// The body: the original's members in their order, then ours.
#[derive(Serialize)]
struct HookBody<'a> {
    git: HookGit<'a>,
    r#type: &'static str,
    name: &'static str,
    /// success or failed
    status: &'static str,
    result: HookResult<'a>,
    job: HookJob,
    /// Full id of the built commit, once it is resolved.
    commit: Option<&'a CommitId>,
    digest: Option<&'a str>,
    tags: &'a [TagResult],
    class: Option<FailureClass>,
    cause: Option<&'a str>,
    cancelled: bool,
    /// True if the image is built and not pushed. It is left out otherwise, because few jobs are so.
    #[serde(rename = "dryRun", skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    /// The members of the request that are not ours.
    extra: Map<String, Value>,
}

#[derive(Serialize)]
struct HookJob {
    id: JobId,
    url: String,
}

#[derive(Serialize)]
struct HookGit<'a> {
    owner: &'a str,
    repo: &'a str,
    /// The branch or tag, as the request had it.
    r#ref: &'a str,
    /// The commit that the request asked for: an id, or `HEAD`.
    commit: &'a str,
}

#[derive(Serialize)]
struct HookResult<'a> {
    image: &'a str,
}

impl PostBuild {
    /// # Errors
    /// The system has no usable TLS authorities.
    pub fn new(config: PostBuildConfig) -> reqwest::Result<Self> {
        let client = outbound::client(Route::Filtered(is_forbidden_target)).timeout(TIMEOUT).build()?;
        Ok(Self { config, client })
    }

    /// Finds the URL of a destination. Rows of a version that knew one URL only have an empty destination.
    fn url(&self, wanted: &str) -> Option<&String> {
        self.config.urls.iter().find(|url| wanted.is_empty() || destination(url) == wanted)
    }

    async fn post(&self, notification: &Notification, now: Millis) -> Result<(), SendError> {
        let Notification { id, destination, body, .. } = notification;
        let url = self.url(destination).ok_or_else(|| SendError::permanent("HOOK_POST_URL no longer has this URL"))?;
        let url = Url::parse(url).map_err(|error| SendError::permanent(format!("its URL is not valid: {error}")))?;
        if let Some(address) = outbound::literal(&url).filter(|address| is_forbidden_target(*address)) {
            return Err(SendError::permanent(format!("its address is {address}, which is refused")));
        }
        let seconds = now.0 / 1000;
        let mut request = self
            .client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("X-Hook-Id", id)
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds);
        if let Some(secret) = &self.config.secret {
            request = request.header("X-Hook-Signature", signature(body, secret));
        }
        if let Some(key) = &self.config.signing_key {
            request = request.header("webhook-signature", standard_signature(id, seconds, body, key));
        }
        SendError::check(&request.body(body.clone()).send().await?, now)
    }
}

impl Channel for PostBuild {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Returns one row per URL for a job that has ended, and none for a job that a newer commit superseded.
    fn rows(&self, job: &Job, _previous: Option<Status>) -> Vec<NewNotification> {
        if !job.status.is_terminal() || job.superseded_by.is_some() {
            return Vec::new();
        }
        let row = |url: &String| {
            let destination = destination(url);
            let lane = format!("{NAME} {destination} {}", job.id);
            NewNotification { channel: NAME, destination, lane, replaces: false, body: body(job, &self.config.links) }
        };
        self.config.urls.iter().map(row).collect()
    }

    fn host(&self, destination: &str) -> Option<String> {
        Url::parse(self.url(destination)?).ok()?.host_str().map(str::to_owned)
    }

    fn send<'a>(&'a self, notification: &'a Notification, now: Millis) -> BoxFuture<'a, Result<(), SendError>> {
        self.post(notification, now).boxed()
    }
}

/// Returns a digest of the URL, which identifies it without showing the token that it may hold.
pub(super) fn destination(url: &str) -> String {
    hex::encode(&Sha256::digest(url)[..8])
}

fn body(job: &Job, links: &JobLinks) -> String {
    let context = &job.context;
    let body = HookBody {
        git: HookGit { owner: &context.owner, repo: &context.repo, r#ref: &context.branch, commit: &context.commit },
        r#type: "builder",
        name: "image-factory",
        status: if job.status == Status::Success { "success" } else { "failed" },
        result: HookResult { image: &job.image },
        job: HookJob { id: job.id, url: links.job(job.id) },
        commit: job.resolved_commit.as_ref(),
        digest: job.digest.as_deref(),
        tags: &job.tags,
        class: job.class,
        cause: job.cause.as_deref(),
        cancelled: job.status == Status::Cancelled,
        dry_run: job.is_dry_run(),
        extra: context.callers_own(),
    };
    serde_json::to_string(&body).expect("structs of texts and JSON are JSON")
}

/// Returns the value of `X-Hook-Signature`: HMAC-SHA1 of the body in bare hexadecimal digits.
pub(super) fn signature(body: &str, secret: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// Returns the value of `webhook-signature`.
fn standard_signature(id: &str, seconds: i64, body: &str, key: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body.as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}
