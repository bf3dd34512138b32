//! NOTIFY_OPERATORS: the mail addresses and chat rooms that hear of what only an operator can mend. Nobody else does.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::{Client, Url};

use super::channel::Channel;
use super::mail::{self, Mailer};
use super::post_build::destination;
use super::send_error::SendError;
use super::summary::{JobLinks, JobSummary};
use super::{chat, hipchat, slack};
use crate::logs::Logs;
use crate::model::{Job, Millis, Status};
use crate::store::{NewNotification, Notification};

const NAME: &str = "operators";

pub struct OperatorsConfig {
    /// Sender to the mail addresses, if there are any.
    pub mailer: Option<Mailer>,
    /// Addresses of chat rooms. Whoever has one may write to its room.
    pub chats: Vec<Url>,
    pub logs: Logs,
    pub links: JobLinks,
}

/// Notifies the operators.
pub struct Operators {
    config: OperatorsConfig,
    client: Client,
}

impl Operators {
    /// # Errors
    /// The system has no usable TLS authorities.
    pub fn new(config: OperatorsConfig) -> reqwest::Result<Self> {
        Ok(Self { config, client: chat::client()? })
    }

    fn chat(&self, wanted: &str) -> Option<&Url> {
        self.config.chats.iter().find(|url| destination(url.as_str()) == wanted)
    }

    async fn notify(&self, notification: &Notification, now: Millis) -> Result<(), SendError> {
        let OperatorsConfig { mailer, logs, .. } = &self.config;
        match (self.chat(&notification.destination), mailer) {
            (Some(url), _) => {
                let (url, token) = without_token(url);
                let request = self.client.post(url);
                let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
                chat::post(request, &notification.body, now).await
            }
            (None, Some(mailer)) => mail::send(mailer, logs, notification).await,
            (None, None) => Err(SendError::permanent("NOTIFY_OPERATORS no longer has this address")),
        }
    }
}

impl Channel for Operators {
    fn name(&self) -> &'static str {
        NAME
    }

    fn rows(&self, job: &Job, _previous: Option<Status>) -> Vec<NewNotification> {
        let OperatorsConfig { mailer, chats, links, .. } = &self.config;
        let Some(summary) = JobSummary::for_operators(job, links) else { return Vec::new() };
        let chat = |url: &Url| {
            let destination = destination(url.as_str());
            let lane = format!("{NAME} {destination} {}", job.id);
            let body = if is_hipchat(url) { hipchat::body(&summary) } else { slack::body(&summary, None) };
            NewNotification { channel: NAME, destination, lane, replaces: false, body }
        };
        let mails = mailer.iter().flat_map(|mailer| mail::rows(mailer, NAME, &summary));
        mails.chain(chats.iter().map(chat)).collect()
    }

    fn host(&self, destination: &str) -> Option<String> {
        let of_mail = || self.config.mailer.as_ref().map(Mailer::host).filter(|_| destination.contains('@'));
        self.chat(destination).map_or_else(of_mail, Url::host_str).map(str::to_owned)
    }

    fn send<'a>(&'a self, notification: &'a Notification, now: Millis) -> BoxFuture<'a, Result<(), SendError>> {
        self.notify(notification, now).boxed()
    }
}

/// Returns true for a room of HipChat's API, `…/v2/room/ROOM/notification?auth_token=TOKEN`. Any other address takes
/// messages as Slack's incoming webhooks do.
fn is_hipchat(url: &Url) -> bool {
    let path: Vec<_> = url.path_segments().into_iter().flatten().collect();
    matches!(path[..], [.., "v2", "room", _, "notification"])
}

/// Takes HipChat's token out of the address, because URLs are written into the logs of servers and proxies.
fn without_token(url: &Url) -> (Url, Option<String>) {
    let mut url = url.clone();
    let token = url.query_pairs().find(|(name, _)| name == "auth_token").map(|(_, token)| token.into_owned());
    if token.is_some() {
        url.set_query(None);
    }
    (url, token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FailureClass, MailTls, Occasion};
    use crate::notify::summary::testing;
    use crate::notify::{MailConfig, Slack, SlackConfig};

    fn operators() -> Operators {
        crate::outbound::install_tls_provider();
        let mailer = Mailer::new(MailConfig {
            host: "mail.acme.org".into(),
            port: None,
            tls: MailTls::Implicit,
            cacert: None,
            login: None,
            from: "builds@acme.org".into(),
            to_setting: "NOTIFY_OPERATORS",
            to: vec!["ops@acme.org".into()],
        });
        let chats =
            ["https://hooks.acme.org/s3cret", "https://chat.acme.org/v2/room/ops/notification?auth_token=t0ken"];
        let chats = chats.map(|url| url.parse().unwrap()).into();
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path().join("logs")).unwrap();
        Operators::new(OperatorsConfig { mailer: mailer.ok(), chats, logs, links: testing::links() }).unwrap()
    }

    #[test]
    fn operators_hear_of_what_only_they_can_mend_and_nobody_else_does() {
        let operators = operators();
        let slack = Slack::new(SlackConfig {
            url: String::from("https://hooks.acme.org/").into(),
            room: None,
            occasions: vec![Occasion::Failure],
            links: testing::links(),
        });
        let slack = slack.unwrap();
        for class in FailureClass::ALL {
            let is_theirs = matches!(class, FailureClass::Config | FailureClass::GitHost);
            let job = Job { class: Some(class), ..testing::job("acme", "develop", "clone: the key is refused") };
            let (to_operators, to_all) = (operators.rows(&job, None).len(), slack.rows(&job, None).len());
            assert_eq!((to_operators, to_all), if is_theirs { (3, 0) } else { (0, 1) }, "{class:?}");
            assert_eq!(operators.rows(&Job { status: Status::Pending, ..job }, None), []);
        }
    }

    #[test]
    fn each_address_gets_its_own_form_and_shows_its_host() {
        let operators = operators();
        let job = testing::job("acme", "develop", "clone: the key is refused");
        let rows = operators.rows(&Job { class: Some(FailureClass::Config), ..job }, None);
        let hosts: Vec<_> = rows.iter().filter_map(|row| operators.host(&row.destination)).collect();
        assert_eq!(hosts, ["mail.acme.org", "hooks.acme.org", "chat.acme.org"]);
        let has = |row: usize, text: &str| assert!(rows[row].body.contains(text), "{}", rows[row].body);
        has(0, "\"subject\"");
        has(1, "\"attachments\"");
        has(2, "IMAGE_BUILD_FAILED");
        assert!(rows.iter().all(|row| !format!("{row:?}").contains("s3cret") && !format!("{row:?}").contains("t0ken")));
        let (url, token) = without_token(&operators.config.chats[1]);
        assert_eq!((url.as_str(), token.as_deref()), ("https://chat.acme.org/v2/room/ops/notification", Some("t0ken")));
    }
}
