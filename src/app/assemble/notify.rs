//! The notification channels that the settings configure: one line each in [`channels`].

use std::num::NonZeroU16;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use reqwest::{Certificate, Url};

use crate::git;
use crate::logs::Logs;
use crate::model::Occasion;
use crate::notify::{
    Channel, Channels, CommitStatuses, DogStatsd, GitHub, GitHubAccess, GitHubConfig, HipChat, HipChatConfig, JobLinks,
    MailChannel, MailConfig, Mailer, Operators, OperatorsConfig, PostBuild, PostBuildConfig, Slack, SlackConfig,
};
use crate::settings::{HostName, Settings, StatsTarget};

/// Makes the configured channels. The outbox gets a job's rows in this order.
///
/// # Errors
/// The setting that cannot be used, and the reason, without secrets.
pub fn channels(settings: &Settings, logs: Logs) -> anyhow::Result<Channels> {
    let mut channels: Vec<Arc<dyn Channel>> = Vec::new();
    if let Some(config) = post_build(settings) {
        channels.push(Arc::new(PostBuild::new(config)?));
    }
    if let Some(github) = github(settings)? {
        channels.push(Arc::new(CommitStatuses::new(github)));
    }
    if let Some(config) = hipchat(settings) {
        channels.push(Arc::new(HipChat::new(config)?));
    }
    if let Some(config) = slack(settings)? {
        channels.push(Arc::new(Slack::new(config)?));
    }
    if let Some(mailer) = mailer(settings)? {
        let occasions = occasions(settings, &[Occasion::Failure, Occasion::Success]);
        channels.push(Arc::new(MailChannel { mailer, logs: logs.clone(), occasions, links: links(settings) }));
    }
    if let Some(config) = operators(settings, logs)? {
        channels.push(Arc::new(Operators::new(config)?));
    }
    if let Some(StatsTarget { host, port }) = settings.stats.clone() {
        channels.push(Arc::new(DogStatsd { host, port }));
    }
    Ok(Channels::new(channels))
}

/// Settings that [`mailer`] checks.
pub const MAIL: &[&str] = &[
    "NOTIFY_OPERATORS",
    "SMTP_HOST",
    "SMTP_PORT",
    "SMTP_TLS",
    "SMTP_CACERT",
    "SMTP_USER",
    "SMTP_PASS",
    "SMTP_FROM",
    "SMTP_TO",
];

fn occasions(settings: &Settings, default: &[Occasion]) -> Vec<Occasion> {
    settings.notify_on.as_ref().map_or_else(|| default.to_vec(), |on| on.0.clone())
}

fn links(settings: &Settings) -> JobLinks {
    JobLinks {
        base_url: settings.base_url.to_string(),
        pages: pages(settings.git_url.as_ref().map(|url| url.0.as_str())),
        environment: settings.totem_env.clone(),
    }
}

fn post_build(settings: &Settings) -> Option<PostBuildConfig> {
    let urls: Vec<String> = settings.hook_post_url.0.iter().map(|url| url.0.to_string()).collect();
    (!urls.is_empty()).then(|| PostBuildConfig {
        urls,
        secret: settings.post_build_secret().cloned(),
        signing_key: settings.hook_signing_key.as_ref().map(|key| key.0.clone()),
        links: links(settings),
    })
}

pub fn hipchat(settings: &Settings) -> Option<HipChatConfig> {
    Some(HipChatConfig {
        api: settings.hipchat_api.0.clone(),
        room: settings.hipchat_room.clone()?,
        token: settings.hipchat_token.clone()?,
        occasions: occasions(settings, &[Occasion::Failure]),
        links: links(settings),
    })
}

pub fn slack(settings: &Settings) -> anyhow::Result<Option<SlackConfig>> {
    let Some(url) = settings.slack_url.clone() else { return Ok(None) };
    let config = SlackConfig {
        url,
        room: settings.slack_room.clone(),
        occasions: occasions(settings, &[Occasion::Failure]),
        links: links(settings),
    };
    match config.host() {
        Some(_) => Ok(Some(config)),
        None => {
            bail!("SLACK_URL cannot be used: it must be an http:// or https:// address (it is secret and not shown)")
        }
    }
}

fn operators(settings: &Settings, logs: Logs) -> anyhow::Result<Option<OperatorsConfig>> {
    let mailer = operators_mailer(settings)?;
    let chats: Vec<_> = settings.notify_operators.chats.iter().map(|url| url.0.clone()).collect();
    let is_set = mailer.is_some() || !chats.is_empty();
    Ok(is_set.then(|| OperatorsConfig { mailer, chats, logs, links: links(settings) }))
}

pub fn operators_mailer(settings: &Settings) -> anyhow::Result<Option<Mailer>> {
    let to = &settings.notify_operators.mails;
    match (to.is_empty(), &settings.smtp_host) {
        (true, _) => Ok(None),
        (false, None) => bail!("NOTIFY_OPERATORS has a mail address and SMTP_HOST is not set: set both"),
        (false, Some(host)) => mailer_to(settings, host, "NOTIFY_OPERATORS", to).map(Some),
    }
}

/// Returns the mailer for SMTP_TO. It may be empty if only operators get mail.
pub fn mailer(settings: &Settings) -> anyhow::Result<Option<Mailer>> {
    let (to, operators) = (&settings.smtp_to.0, &settings.notify_operators.mails);
    match &settings.smtp_host {
        Some(host) if !to.is_empty() || operators.is_empty() => mailer_to(settings, host, "SMTP_TO", to).map(Some),
        _ => Ok(None),
    }
}

fn mailer_to(settings: &Settings, host: &HostName, to_setting: &'static str, to: &[String]) -> anyhow::Result<Mailer> {
    let missing = |name: &str| anyhow!("SMTP_HOST is set and {name} is not: set the sender of the mail");
    let login = match (settings.smtp_user.clone(), settings.smtp_pass.clone()) {
        (Some(user), Some(password)) => Some((user, password)),
        (Some(_), None) => bail!("SMTP_USER is set and SMTP_PASS is not: set both, or neither"),
        (None, _) => None,
    };
    let config = MailConfig {
        // The brackets around an IPv6 address belong to URLs.
        host: host.to_string().trim_matches(['[', ']']).to_owned(),
        port: settings.smtp_port.map(NonZeroU16::get),
        tls: settings.smtp_tls,
        cacert: settings.smtp_cacert.clone(),
        login,
        from: settings.smtp_from.clone().ok_or_else(|| missing("SMTP_FROM"))?,
        to_setting,
        to: to.to_vec(),
    };
    Mailer::new(config).map_err(anyhow::Error::msg)
}

/// Logs which channels there are. It shows no address, which may be secret.
pub fn log_summary(settings: &Settings) {
    match (&settings.hipchat_room, &settings.hipchat_token) {
        (Some(room), Some(_)) => {
            tracing::info!("HipChat: room {room} at {}", settings.hipchat_api.0.host_str().unwrap_or_default());
        }
        (None, None) => {}
        _ => tracing::warn!(
            "HipChat: not used, because it needs both HIPCHAT_TOKEN and HIPCHAT_ROOM: set both or neither"
        ),
    }
    if settings.slack_url.is_some() {
        tracing::info!("Slack: {}", settings.slack_room.as_deref().unwrap_or("the webhook's own channel"));
    }
    if let Some(host) = &settings.smtp_host {
        let to = [&settings.smtp_to.0[..], &settings.notify_operators.mails].concat();
        tracing::info!("mail: by {host} to {}", to.join(", "));
    }
    if let Some(StatsTarget { host, port }) = &settings.stats {
        tracing::info!("timings of builds: by DogStatsD to {host}:{port}");
    }
    let rooms = settings.notify_operators.chats.len();
    if rooms > 0 {
        tracing::info!("operators: {rooms} chat rooms");
    }
}

/// Returns the address of the Git server's pages, by the template of its URLs. Without a template it is GitHub.
fn pages(git_url: Option<&str>) -> Option<Url> {
    let Some(template) = git_url else { return Url::parse("https://github.com").ok() };
    let (scheme, authority) = match template.split_once("://") {
        Some((scheme, rest)) => (scheme, rest.split('/').next()?),
        None => ("ssh", template.split_once(':')?.0),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match scheme {
        "http" | "https" => Url::parse(&format!("{scheme}://{host}")).ok(),
        // The pages are not at ssh's port.
        "ssh" => {
            let mut url = Url::parse(&format!("https://{host}")).ok()?;
            url.set_port(None).ok().map(|()| url)
        }
        _ => None,
    }
}

/// Returns the client that sets commit statuses; `None` if neither a token nor an App is set.
pub fn github(settings: &Settings) -> anyhow::Result<Option<GitHub>> {
    let access = match (&settings.github_app_id, &settings.github_private_key, &settings.github_token) {
        (Some(id), Some(key), _) => GitHubAccess::App {
            id: id.clone(),
            private_key: key.clone(),
            installation: settings.github_installation_id.clone(),
        },
        (None, None, Some(token)) => GitHubAccess::Token(token.clone()),
        (None, None, None) => return Ok(None),
        _ => anyhow::bail!("GITHUB_APP_ID and GITHUB_PRIVATE_KEY belong together: set both, or neither"),
    };
    let authorities = settings.git_cacert.as_deref().map(git::read_authorities).transpose()?.unwrap_or_default();
    let authorities = authorities.iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>()?;
    let (api, base_url) = (settings.github_api.0.clone(), settings.base_url.to_string());
    Ok(Some(GitHub::new(GitHubConfig { api, base_url, access, authorities })?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_are_on_the_git_server() {
        for (template, expected) in [
            (None, Some("https://github.com/")),
            (Some("git@git.acme.org:{owner}/{repo}.git"), Some("https://git.acme.org/")),
            (Some("ssh://git@git.acme.org:2222/{owner}/{repo}.git"), Some("https://git.acme.org/")),
            (Some("https://git.acme.org:8443/{owner}/{repo}.git"), Some("https://git.acme.org:8443/")),
            (Some("file:///srv/git/{owner}/{repo}.git"), None),
        ] {
            assert_eq!(pages(template).as_ref().map(Url::as_str), expected, "{template:?}");
        }
    }
}
