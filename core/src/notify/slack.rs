//! Slack's incoming webhooks (<https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments>), in
//! the form that Mattermost takes too: one attachment, as totem's docker-image-factory 0.8.3 sent it.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::{Client, Url};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::channel::Channel;
use super::chat;
use super::send_error::SendError;
use super::summary::{JobLinks, JobSummary};
use crate::model::{Job, Millis, Occasion, Status};
use crate::store::{NewNotification, Notification};

const NAME: &str = "slack";

pub struct SlackConfig {
    /// SLACK_URL. Whoever has it may write to the channel.
    pub url: Zeroizing<String>,
    /// SLACK_ROOM, or the webhook's own channel.
    pub room: Option<String>,
    /// The occasions that the channel is notified of.
    pub occasions: Vec<Occasion>,
    pub links: JobLinks,
}

impl SlackConfig {
    /// Returns the host of SLACK_URL, the only part that is not secret. `None` if SLACK_URL is no web address.
    pub fn host(&self) -> Option<String> {
        let url = Url::parse(&self.url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        url.host_str().map(str::to_owned)
    }
}

/// Notifies one channel of Slack or Mattermost.
pub struct Slack {
    config: SlackConfig,
    client: Client,
}

impl Slack {
    /// # Errors
    /// The system has no usable TLS authorities.
    pub fn new(config: SlackConfig) -> reqwest::Result<Self> {
        Ok(Self { config, client: chat::client()? })
    }
}

impl Channel for Slack {
    fn name(&self) -> &'static str {
        NAME
    }

    fn rows(&self, job: &Job, previous: Option<Status>) -> Vec<NewNotification> {
        let SlackConfig { room, occasions, links, .. } = &self.config;
        let Some(summary) = JobSummary::new(job, previous, occasions, links) else { return Vec::new() };
        let destination = room.clone().unwrap_or_default();
        let lane = format!("{NAME} {destination} {}", job.id);
        let body = body(&summary, room.as_deref());
        vec![NewNotification { channel: NAME, destination, lane, replaces: false, body }]
    }

    fn host(&self, _destination: &str) -> Option<String> {
        self.config.host()
    }

    fn send<'a>(&'a self, notification: &'a Notification, now: Millis) -> BoxFuture<'a, Result<(), SendError>> {
        chat::post(self.client.post(self.config.url.as_str()), &notification.body, now).boxed()
    }
}

pub(super) fn body(summary: &JobSummary, room: Option<&str>) -> String {
    let (color, headline) = (if summary.failed() { "danger" } else { "good" }, summary.headline());
    let repo = format!("{}/{}", summary.owner(), summary.repo());
    let mut fields = vec![
        field("Env", &escape(&summary.environment()), true),
        field("Repo", &link(summary.repo_link(), &repo), true),
    ];
    if let Some((class, advice)) = summary.class() {
        fields.push(field("Class", &escape(class), true));
        fields.push(field("What to do", &escape(advice), false));
    }
    if let Some(names) = summary.pushed() {
        fields.push(field("Image", &escape(&names), false));
    }
    if let Some(tags) = summary.kept() {
        fields.push(field("Not moved, as a newer push has them", &escape(&tags), false));
    }
    fields.push(field("Log", &link(Some(summary.log_link()), &summary.job.id.to_string()), false));
    let footer = [
        link(summary.owner_link(), &summary.owner()),
        link(summary.repo_link(), &summary.repo()),
        link(summary.branch_link(), &summary.branch()),
        link(summary.commit_link(), &summary.short_commit()),
    ];
    let mut message = json!({
        "username": "Image Factory",
        "attachments": [{
            "fallback": escape(&format!("{headline}: {}", summary.log_link())),
            "color": color,
            "title": escape(&headline),
            "title_link": summary.log_link(),
            "text": text(summary),
            "fields": fields,
            "footer": footer.join(" / "),
            "mrkdwn_in": ["text", "fields", "footer"],
        }],
    });
    if let Some(room) = room {
        message["channel"] = room.into();
    }
    message.to_string()
}

/// Returns the sentence of the original and the cause, or nothing for a success.
fn text(summary: &JobSummary) -> String {
    if !summary.failed() {
        return String::new();
    }
    let (environment, repo) = (escape(&summary.environment()), escape(&summary.repo()));
    let cause = escape(&summary.cause().unwrap_or_default());
    format!("A *{environment}* build for *{repo}* has failed!\n{cause}").trim_end().to_owned()
}

fn field(title: &str, value: &str, short: bool) -> Value {
    json!({ "title": title, "value": value, "short": short })
}

/// Escapes the three characters that Slack gives a meaning
/// (<https://docs.slack.dev/messaging/formatting-message-text#escaping>).
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn link(url: Option<String>, text: &str) -> String {
    match url {
        Some(url) => format!("<{}|{}>", escape(&url), escape(text)),
        None => escape(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::testing::{job, links, successful_job};
    use super::*;

    fn message(job: &Job, room: Option<&str>) -> Value {
        let (links, all) = (links(), [Occasion::Failure, Occasion::Success]);
        serde_json::from_str(&body(&JobSummary::new(job, None, &all, &links).unwrap(), room)).unwrap()
    }

    #[test]
    fn one_attachment_has_the_content_of_the_original_and_ours() {
        let failed = job("acme", "feature/x", "build: a & b");
        insta::assert_json_snapshot!("slack_failure", message(&failed, Some("#builds")));
        insta::assert_json_snapshot!("slack_success", message(&successful_job(), None));
        assert!(message(&failed, None).get("channel").is_none());
    }

    #[test]
    fn outside_text_mentions_nobody() {
        let message = message(&job("<!channel>", "<!here>", "<@U1> & co"), None).to_string();
        assert!(!message.contains("<!") && !message.contains("<@"), "{message}");
        assert!(message.contains("&lt;!channel&gt;") && message.contains("&lt;@U1&gt; &amp; co"), "{message}");
    }
}
