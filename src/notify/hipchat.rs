//! HipChat's API, version 2: `POST {HIPCHAT_API}/v2/room/{HIPCHAT_ROOM}/notification`, with the table that totem's
//! docker-image-factory 0.8.3 sent.

use std::fmt::Write;

use reqwest::{Client, Url};
use serde_json::json;
use zeroize::Zeroizing;

use super::send_error::Failure;
use super::summary::Story;
use super::{NotifyConfig, chat};
use crate::logs::html::escape as html;
use crate::model::{Job, Millis, Occasion, Status};
use crate::store::{NewNotification, Notification};

pub(super) const CHANNEL: &str = "hipchat";

#[derive(Clone)]
pub struct HipChat {
    /// HIPCHAT_API
    pub api: Url,
    pub room: String,
    pub token: Zeroizing<String>,
    pub occasions: Vec<Occasion>,
}

pub(super) fn rows(config: &NotifyConfig, job: &Job, previous: Option<Status>) -> Option<NewNotification> {
    let HipChat { room, occasions, .. } = config.hipchat.as_ref()?;
    let story = Story::of(job, previous, occasions, &config.links)?;
    let lane = format!("{CHANNEL} {room} {}", job.id);
    Some(NewNotification { channel: CHANNEL, destination: room.clone(), lane, replaces: false, body: body(&story) })
}

/// The token goes in a header, which HipChat's API takes as well as `auth_token` in the URL, where the original had it:
/// URLs are written into the logs of servers and proxies.
pub(super) async fn send(
    config: &NotifyConfig,
    client: &Client,
    notification: &Notification,
    now: Millis,
) -> Result<(), Failure> {
    let gone = || Failure::permanent("HIPCHAT_TOKEN and HIPCHAT_ROOM do not name this room any more");
    let hipchat = config.hipchat.as_ref().filter(|hipchat| hipchat.room == notification.destination);
    let hipchat = hipchat.ok_or_else(gone)?;
    let mut url = hipchat.api.clone();
    // It has a host, so it has a path.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["v2", "room", &hipchat.room, "notification"]);
    }
    chat::post(client.post(url).bearer_auth(hipchat.token.as_str()), &notification.body, now).await
}

fn body(story: &Story) -> String {
    let (code, color) = match story.occasion {
        Occasion::Failure => ("IMAGE_BUILD_FAILED", "red"),
        Occasion::Fixed => ("IMAGE_BUILD_FIXED", "green"),
        Occasion::Success => ("IMAGE_BUILD_SUCCEEDED", "green"),
    };
    let mut table = String::from("<table>");
    let mut row = |name: &str, value: String| {
        let _ = write!(table, "<tr><td><b>{name}</b></td><td>{value}</td></tr>");
    };
    row("Code", code.into());
    row("Message", html(&story.cause().unwrap_or_else(|| story.headline())));
    if let Some((class, advice)) = story.class() {
        row("Class", html(class));
        row("What to do", html(advice));
    }
    row("Environment", html(&story.environment()));
    row("Repository", linked(story.repo_link(), &story.repo()));
    row("Owner", linked(story.owner_link(), &story.owner()));
    row("Branch", linked(story.branch_link(), &story.branch()));
    row("Commit", linked(story.commit_link(), &story.commit()));
    if let Some(names) = story.pushed() {
        row("Image", html(&names));
    }
    if let Some(tags) = story.kept() {
        row("Not moved, as a newer push has them", html(&tags));
    }
    row("Job", linked(Some(story.job_link()), &story.job.id.to_string()));
    row("Log", linked(Some(story.log_link()), "log"));
    table += "</table>";
    json!({ "message": table, "color": color, "notify": true, "message_format": "html" }).to_string()
}

fn linked(url: Option<String>, text: &str) -> String {
    match url {
        Some(url) => format!(r#"<a href="{}">{}</a>"#, html(&url), html(text)),
        None => html(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::testing::{job, links};
    use super::*;

    fn message(job: &Job) -> serde_json::Value {
        let links = links();
        serde_json::from_str(&body(&Story::of(job, None, &[Occasion::Failure], &links).unwrap())).unwrap()
    }

    #[test]
    fn the_table_has_what_the_original_s_had() {
        let job = job("acme", "develop", "build: step 2 failed");
        let said = message(&job);
        assert_eq!(
            (&said["color"], &said["notify"], &said["message_format"]),
            (&json!("red"), &json!(true), &json!("html"))
        );
        let (id, commit) = (job.id, "1a2b3c4d".repeat(5));
        for cell in [
            "<td>IMAGE_BUILD_FAILED</td>".to_owned(),
            "<td>build: step 2 failed</td>".into(),
            "<td>Mend what the message names and push again.</td>".into(),
            r#"<a href="https://github.com/acme/hello">hello</a>"#.into(),
            r#"<a href="https://github.com/acme">acme</a>"#.into(),
            format!(r#"<a href="https://github.com/acme/hello/commit/{commit}">{commit}</a>"#),
            format!(r#"<a href="https://ci.acme.org/job/{id}">{id}</a>"#),
            format!(r#"<a href="https://ci.acme.org/job/{id}/log">log</a>"#),
        ] {
            assert!(said["message"].as_str().unwrap().contains(&cell), "{cell} is not in {said}");
        }
    }

    #[test]
    fn nothing_from_outside_is_markup_and_nothing_is_too_long() {
        let evil = r#"<img src="x" onerror='y'>&"#;
        let said = message(&job(evil, evil, evil));
        let text = said["message"].as_str().unwrap();
        assert!(!text.contains("<img"), "{text}");
        assert!(text.contains("&lt;img src=&quot;x&quot; onerror=&#39;y&#39;&gt;&amp;"), "{text}");
        let long = "\"".repeat(5000);
        assert!(message(&job(&long, &long, &long))["message"].as_str().unwrap().len() < 10_000);
        let long = "ä".repeat(100);
        assert!(message(&job("acme", &long, &long.repeat(50)))["message"].as_str().unwrap().chars().count() < 10_000);
    }
}
