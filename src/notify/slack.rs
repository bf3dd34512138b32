//! Slack's incoming webhooks (<https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments>), in
//! the form that Mattermost takes too: one attachment, as totem's docker-image-factory 0.8.3 sent it.

use reqwest::{Client, Url};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::send_error::Failure;
use super::summary::Story;
use super::{NotifyConfig, chat};
use crate::model::{Job, Millis, Occasion, Status};
use crate::store::{NewNotification, Notification};

pub(super) const CHANNEL: &str = "slack";

#[derive(Clone)]
pub struct Slack {
    /// Whoever has it may write.
    pub url: Zeroizing<String>,
    /// None: the webhook's own.
    pub room: Option<String>,
    pub occasions: Vec<Occasion>,
}

impl Slack {
    /// Where it goes, without what is secret: `hooks.slack.com:443`. None if SLACK_URL is no web address.
    pub fn place(&self) -> Option<String> {
        let url = Url::parse(&self.url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
    }
}

pub(super) fn rows(config: &NotifyConfig, job: &Job, previous: Option<Status>) -> Option<NewNotification> {
    let Slack { room, occasions, .. } = config.slack.as_ref()?;
    let story = Story::of(job, previous, occasions, &config.links)?;
    let destination = room.clone().unwrap_or_default();
    let lane = format!("{CHANNEL} {destination} {}", job.id);
    let body = body(&story, room.as_deref());
    Some(NewNotification { channel: CHANNEL, destination, lane, replaces: false, body })
}

pub(super) async fn send(
    config: &NotifyConfig,
    client: &Client,
    notification: &Notification,
    now: Millis,
) -> Result<(), Failure> {
    let slack = config.slack.as_ref().ok_or_else(|| Failure::permanent("SLACK_URL is not set any more"))?;
    chat::post(client.post(slack.url.as_str()), &notification.body, now).await
}

fn body(story: &Story, room: Option<&str>) -> String {
    let (color, headline) = (if story.failed() { "danger" } else { "good" }, story.headline());
    let repo = format!("{}/{}", story.owner(), story.repo());
    let mut fields = vec![
        field("Env", &escaped(&story.environment()), true),
        field("Repo", &linked(story.repo_link(), &repo), true),
    ];
    if let Some((class, advice)) = story.class() {
        fields.push(field("Class", &escaped(class), true));
        fields.push(field("What to do", &escaped(advice), false));
    }
    if let Some(names) = story.pushed() {
        fields.push(field("Image", &escaped(&names), false));
    }
    if let Some(tags) = story.kept() {
        fields.push(field("Not moved, as a newer push has them", &escaped(&tags), false));
    }
    fields.push(field("Log", &linked(Some(story.log_link()), &story.job.id.to_string()), false));
    let footer = [
        linked(story.owner_link(), &story.owner()),
        linked(story.repo_link(), &story.repo()),
        linked(story.branch_link(), &story.branch()),
        linked(story.commit_link(), &story.short_commit()),
    ];
    let mut message = json!({
        "username": "Image Factory",
        "attachments": [{
            "fallback": escaped(&format!("{headline}: {}", story.log_link())),
            "color": color,
            "title": escaped(&headline),
            "title_link": story.log_link(),
            "text": escaped(&story.cause().unwrap_or_default()),
            "fields": fields,
            "footer": footer.join(" / "),
            "mrkdwn_in": ["fields", "footer"],
        }],
    });
    if let Some(room) = room {
        message["channel"] = room.into();
    }
    message.to_string()
}

fn field(title: &str, value: &str, short: bool) -> Value {
    json!({ "title": title, "value": value, "short": short })
}

/// The three that Slack reads as its own (<https://docs.slack.dev/messaging/formatting-message-text#escaping>).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn linked(url: Option<String>, text: &str) -> String {
    match url {
        Some(url) => format!("<{}|{}>", escaped(&url), escaped(text)),
        None => escaped(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::testing::{job, links};
    use super::*;

    fn message(job: &Job, room: Option<&str>) -> Value {
        let links = links();
        serde_json::from_str(&body(&Story::of(job, None, &[Occasion::Failure], &links).unwrap(), room)).unwrap()
    }

    #[test]
    fn one_attachment_has_what_the_original_s_had() {
        let job = job("acme", "feature/x", "build: a & b");
        let said = message(&job, Some("#builds"));
        assert_eq!((&said["username"], &said["channel"]), (&json!("Image Factory"), &json!("#builds")));
        let attachment = &said["attachments"][0];
        assert_eq!((&attachment["color"], &attachment["text"]), (&json!("danger"), &json!("build: a &amp; b")));
        let log = format!("https://ci.acme.org/job/{}/log", job.id);
        assert_eq!(attachment["title_link"], log);
        assert_eq!(attachment["fields"][0], json!({"title": "Env", "value": "staging", "short": true}));
        assert_eq!(attachment["fields"][1]["value"], "<https://github.com/acme/hello|acme/hello>");
        assert_eq!(
            attachment["footer"],
            format!(
                "<https://github.com/acme|acme> / <https://github.com/acme/hello|hello> / \
                 <https://github.com/acme/hello/tree/feature/x|feature/x> / \
                 <https://github.com/acme/hello/commit/{}|1a2b3c4>",
                "1a2b3c4d".repeat(5)
            )
        );
        assert!(message(&job, None).get("channel").is_none());
    }

    #[test]
    fn nobody_is_called_by_a_name() {
        let said = message(&job("<!channel>", "<!here>", "<@U1> & co"), None).to_string();
        assert!(!said.contains("<!") && !said.contains("<@"), "{said}");
        assert!(said.contains("&lt;!channel&gt;") && said.contains("&lt;@U1&gt; &amp; co"), "{said}");
    }
}
