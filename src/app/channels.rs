//! Who is told of jobs, by the settings.

use std::num::NonZeroU16;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use reqwest::Url;

use super::startup;
use crate::logs::Logs;
use crate::model::Occasion;
use crate::notify::{HipChat, Links, Mail, MailConfig, Mailing, NotifyConfig, Slack};
use crate::settings::Settings;

pub fn config(settings: &Settings, logs: Logs) -> anyhow::Result<NotifyConfig> {
    let occasions =
        |default: &[Occasion]| settings.notify_on.as_ref().map_or_else(|| default.to_vec(), |on| on.0.clone());
    let (bad, all) = (occasions(&[Occasion::Failure]), occasions(&[Occasion::Failure, Occasion::Success]));
    Ok(NotifyConfig {
        post_build: settings.hook_post_url.0.iter().map(|url| url.0.to_string()).collect(),
        hook_secret: settings.post_build_secret().cloned(),
        signing_key: settings.hook_signing_key.as_ref().map(|key| key.0.clone()),
        links: Links {
            base_url: settings.base_url.to_string(),
            pages: pages(settings.git_url.as_ref().map(|url| url.0.as_str())),
            environment: settings.totem_env.clone(),
        },
        github: startup::github(settings)?.map(Arc::new),
        hipchat: hipchat(settings, &bad),
        slack: slack(settings, &bad)?,
        mail: mail(settings)?.map(|mail| Mailing { mail, logs, occasions: all }),
    })
}

/// # Errors
/// The setting that cannot be used, and why; nothing secret.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    slack(settings, &[])?;
    mail(settings)?;
    Ok(())
}

pub fn hipchat(settings: &Settings, occasions: &[Occasion]) -> Option<HipChat> {
    Some(HipChat {
        api: settings.hipchat_api.0.clone(),
        room: settings.hipchat_room.clone()?,
        token: settings.hipchat_token.clone()?,
        occasions: occasions.into(),
    })
}

pub fn slack(settings: &Settings, occasions: &[Occasion]) -> anyhow::Result<Option<Slack>> {
    let Some(url) = settings.slack_url.clone() else { return Ok(None) };
    let slack = Slack { url, room: settings.slack_room.clone(), occasions: occasions.into() };
    match slack.place() {
        Some(_) => Ok(Some(slack)),
        None => {
            bail!("SLACK_URL cannot be used: it must be an http:// or https:// address (it is secret and not shown)")
        }
    }
}

pub fn mail(settings: &Settings) -> anyhow::Result<Option<Mail>> {
    let Some(host) = settings.smtp_host.clone() else { return Ok(None) };
    let missing = |name: &str| anyhow!("SMTP_HOST is set and {name} is not");
    let login = match (settings.smtp_user.clone(), settings.smtp_pass.clone()) {
        (Some(user), Some(password)) => Some((user, password)),
        (Some(_), None) => bail!("SMTP_USER is set and SMTP_PASS is not"),
        (None, _) => None,
    };
    let config = MailConfig {
        host,
        port: settings.smtp_port.map(NonZeroU16::get),
        tls: settings.smtp_tls,
        cacert: settings.smtp_cacert.clone(),
        login,
        from: settings.smtp_from.clone().ok_or_else(|| missing("SMTP_FROM"))?,
        to: settings.smtp_to.0.clone(),
    };
    Mail::new(config).map(Some).map_err(anyhow::Error::msg)
}

/// Which of them there are. No address, which may be secret.
pub fn say(settings: &Settings) {
    match (&settings.hipchat_room, &settings.hipchat_token) {
        (Some(room), Some(_)) => {
            tracing::info!("HipChat: room {room} at {}", settings.hipchat_api.0.host_str().unwrap_or_default());
        }
        (None, None) => {}
        _ => tracing::warn!("HipChat: nobody is told; it needs both HIPCHAT_TOKEN and HIPCHAT_ROOM"),
    }
    if settings.slack_url.is_some() {
        tracing::info!("Slack: {}", settings.slack_room.as_deref().unwrap_or("the webhook's own channel"));
    }
    if let Some(host) = &settings.smtp_host {
        tracing::info!("mail: by {host} to {}", settings.smtp_to.0.join(", "));
    }
}

/// Where the Git server has its pages, by the template of its addresses; without one it is GitHub.
fn pages(git_url: Option<&str>) -> Option<Url> {
    let Some(template) = git_url else { return Url::parse("https://github.com").ok() };
    let (scheme, authority) = match template.split_once("://") {
        Some((scheme, rest)) => (scheme, rest.split('/').next()?),
        None => ("ssh", template.split_once(':')?.0),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match scheme {
        "http" | "https" => Url::parse(&format!("{scheme}://{host}")).ok(),
        // ssh's port is not the pages'.
        "ssh" => {
            let mut url = Url::parse(&format!("https://{host}")).ok()?;
            url.set_port(None).ok().map(|()| url)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_where_git_is() {
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
