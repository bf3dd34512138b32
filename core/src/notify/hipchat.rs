//! HipChat's API, version 2: `POST {HIPCHAT_API}/v2/room/{HIPCHAT_ROOM}/notification`, with the table that totem's
//! docker-image-factory 0.8.3 sent.

use std::fmt::Write;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::{Client, Url};
use serde_json::json;
use zeroize::Zeroizing;

use super::channel::Channel;
use super::chat;
use super::send_error::SendError;
use super::summary::{JobLinks, JobSummary};
use crate::logs::html::escape;
use crate::model::{Job, Millis, Occasion, Status};
use crate::store::{NewNotification, Notification};

const NAME: &str = "hipchat";

pub struct HipChatConfig {
    /// HIPCHAT_API
    pub api: Url,
    /// HIPCHAT_ROOM
    pub room: String,
    /// HIPCHAT_TOKEN
    pub token: Zeroizing<String>,
    /// The occasions that the room is notified of.
    pub occasions: Vec<Occasion>,
    pub links: JobLinks,
}

/// Notifies one room.
pub struct HipChat {
    config: HipChatConfig,
    client: Client,
}

impl HipChat {
    /// # Errors
    /// The system has no usable TLS authorities.
    pub fn new(config: HipChatConfig) -> reqwest::Result<Self> {
        Ok(Self { config, client: chat::client()? })
    }

    /// Sends the token in a header, which HipChat's API accepts as well as `auth_token` in the URL. The original put it
    /// into the URL, but URLs are written into the logs of servers and proxies.
    async fn post(&self, notification: &Notification, now: Millis) -> Result<(), SendError> {
        let HipChatConfig { api, room, token, .. } = &self.config;
        if *room != notification.destination {
            return Err(SendError::permanent("HIPCHAT_ROOM no longer names this room"));
        }
        let mut url = api.clone();
        // A URL with a host has a path, so this cannot fail.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v2", "room", room, "notification"]);
        }
        chat::post(self.client.post(url).bearer_auth(token.as_str()), &notification.body, now).await
    }
}

impl Channel for HipChat {
    fn name(&self) -> &'static str {
        NAME
    }

    fn rows(&self, job: &Job, previous: Option<Status>) -> Vec<NewNotification> {
        let HipChatConfig { room, occasions, links, .. } = &self.config;
        let Some(summary) = JobSummary::new(job, previous, occasions, links) else { return Vec::new() };
        let lane = format!("{NAME} {room} {}", job.id);
        let body = body(&summary);
        vec![NewNotification { channel: NAME, destination: room.clone(), lane, replaces: false, body }]
    }

    fn host(&self, _destination: &str) -> Option<String> {
        self.config.api.host_str().map(str::to_owned)
    }

    fn send<'a>(&'a self, notification: &'a Notification, now: Millis) -> BoxFuture<'a, Result<(), SendError>> {
        self.post(notification, now).boxed()
    }
}

pub(super) fn body(summary: &JobSummary) -> String {
    let (code, color) = match summary.occasion {
        Occasion::Failure => ("IMAGE_BUILD_FAILED", "red"),
        Occasion::Fixed => ("IMAGE_BUILD_FIXED", "green"),
        Occasion::Success => ("IMAGE_BUILD_SUCCEEDED", "green"),
    };
    let mut table = String::from("<table>");
    let mut row = |name: &str, value: String| {
        let _ = write!(table, "<tr><td><b>{name}</b></td><td>{value}</td></tr>");
    };
    row("Code", code.into());
    row("Message", escape(&summary.cause().unwrap_or_else(|| summary.headline())));
    if let Some((class, advice)) = summary.class() {
        row("Class", escape(class));
        row("What to do", escape(advice));
    }
    row("Environment", escape(&summary.environment()));
    row("Repository", link(summary.repo_link(), &summary.repo()));
    row("Owner", link(summary.owner_link(), &summary.owner()));
    row("Branch", link(summary.branch_link(), &summary.branch()));
    row("Commit", link(summary.commit_link(), &summary.commit()));
    if let Some(names) = summary.pushed() {
        row("Image", escape(&names));
    }
    if let Some(tags) = summary.kept() {
        row("Not moved, as a newer push has them", escape(&tags));
    }
    row("Job", link(Some(summary.job_link()), &summary.job.id.to_string()));
    row("Log", link(Some(summary.log_link()), "log"));
    table += "</table>";
    json!({ "message": table, "color": color, "notify": true, "message_format": "html" }).to_string()
}

fn link(url: Option<String>, text: &str) -> String {
    match url {
        Some(url) => format!(r#"<a href="{}">{}</a>"#, escape(&url), escape(text)),
        None => escape(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::testing::{job, links, successful_job};
    use super::*;

    fn message(job: &Job) -> serde_json::Value {
        let (links, all) = (links(), [Occasion::Failure, Occasion::Success]);
        serde_json::from_str(&body(&JobSummary::new(job, None, &all, &links).unwrap())).unwrap()
    }

    #[test]
    fn the_table_has_the_rows_of_the_original_and_ours() {
        insta::assert_json_snapshot!("hipchat_failure", message(&job("acme", "develop", "build: step 2 failed")));
        insta::assert_json_snapshot!("hipchat_success", message(&successful_job()));
    }

    #[test]
    fn outside_text_is_never_markup_and_a_message_is_never_too_long() {
        let evil = r#"<img src="x" onerror='y'>&"#;
        let evil = message(&job(evil, evil, evil));
        let text = evil["message"].as_str().unwrap();
        assert!(!text.contains("<img"), "{text}");
        assert!(text.contains("&lt;img src=&quot;x&quot; onerror=&#39;y&#39;&gt;&amp;"), "{text}");
        let long = "\"".repeat(5000);
        assert!(message(&job(&long, &long, &long))["message"].as_str().unwrap().len() < 10_000);
        let long = "ä".repeat(100);
        assert!(message(&job("acme", &long, &long.repeat(50)))["message"].as_str().unwrap().chars().count() < 10_000);
    }
}
