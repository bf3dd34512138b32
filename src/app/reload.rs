//! Reads the settings again when SIGHUP comes. The live ones take effect at once, and no job notices; the others are named.
//!
//! The live ones are taken together or not at all, because some belong together, such as a secret and the address that it
//! is for. A fault of a setting that needs a restart, or of a file that it names, is told and holds up nothing: a token that
//! leaked must not stay valid because KNOWN_HOSTS is damaged. A live setting that contradicts one which needs a restart
//! stays as it was, and the others are taken.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::bail;
use sd_notify::NotifyState;
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use super::assemble::{access, git, images, notify, queue as queue_settings};
use super::{certificate, summary};
use crate::http::{Credentials, ServerCertificate};
use crate::intake::Intake;
use crate::logs::{Logs, Masks};
use crate::model::ApiToken;
use crate::notify::Channels;
use crate::pipeline::Tools;
use crate::queue::QueueHandle;
use crate::secrets::Secrets;
use crate::settings::{ErrorScope, LoadedSettings, SettingError, SettingErrors, Settings, SettingsSource};
use crate::telemetry::notify_systemd;

/// The parts of the daemon that take settings while they work.
pub struct LiveParts {
    /// Settings that are in effect.
    pub settings: Settings,
    /// Token of DATA_DIR/admin-token, which is the last of all tokens.
    pub admin_token: Option<Zeroizing<String>>,
    pub ssh_token: Option<ApiToken>,
    /// Secrets that logs mask.
    pub masks: Masks,
    /// Secrets that no build may be given.
    pub refused: Masks,
    pub logs: Logs,
    pub secrets: watch::Receiver<Arc<Secrets>>,
    pub tools: Arc<Tools>,
    pub queue: QueueHandle,
    pub intake: Intake,
    pub channels: Channels,
    pub credentials: Credentials,
    pub certificate: Option<Arc<ServerCertificate>>,
}

impl LiveParts {
    /// Takes the live settings of `new`, and reads anew the certificates that the settings name. Returns true if
    /// the admin token is another one. A certificate of the listener that cannot be used is logged, and the former one stays.
    /// The settings that are `held` stay as they were, as do those that it adds.
    ///
    /// # Errors
    /// A live setting cannot be used. Then nothing has changed.
    fn take(&mut self, new: &Settings, held: &mut Vec<&'static str>) -> anyhow::Result<bool> {
        let settings = self.merged(new, held)?;
        let tokens = access::tokens(&settings, self.ssh_token.as_ref())?;
        let masks = with(&self.masks, access::masks(&settings));
        let refused = with(&self.refused, access::refused(&settings, &tokens));
        let policy = access::policy(&settings, refused.clone(), self.secrets.clone())?;
        let rules = queue_settings::rules(&settings)?;
        let channels = notify::channels(&settings, self.logs.clone())?;
        // The masks come first, so that no log shows a new secret.
        self.masks.send_replace(Arc::new(masks));
        self.refused.send_replace(Arc::new(refused));
        self.tools.git.set_access(&git::access(&settings))?;
        self.channels.replace(&channels);
        self.queue.set_rules(rules);
        self.intake.set_policy(policy);
        self.tools.config.skip_words.store(settings.skip_words.0, Relaxed);
        self.tools.config.test.compose.destinations.send_replace(images::destinations(&settings));
        let hosts = access::hosts(&settings);
        let (hook_secret, basic_auth) = (settings.hook_secret.clone(), settings.basic_auth.as_ref());
        self.credentials.replace(hook_secret, settings.ci_token(), &tokens, basic_auth, &hosts);
        if let Err(why) = certificate::reload(self.certificate.as_deref(), new) {
            tracing::error!("the certificate is not taken, and the former one stays in use: {why:#}");
        }
        self.settings = settings;
        let former = std::mem::replace(&mut self.admin_token, tokens.last().map(|admin| admin.token.clone()));
        Ok(former != self.admin_token)
    }

    /// Returns the settings in effect with the live ones of `new`. A live one that contradicts a setting in effect which
    /// needs a restart is logged, added to `held`, and left as it was.
    ///
    /// # Errors
    /// A contradiction that this does not resolve.
    fn merged(&self, new: &Settings, held: &mut Vec<&'static str>) -> anyhow::Result<Settings> {
        loop {
            let (settings, known) = (self.settings.with_live(new, held), held.len());
            for fault in settings.contradictions().into_iter().chain(super::check_at_reload(&settings)) {
                match ErrorScope::of(&fault) {
                    ErrorScope::Restart => {}
                    ErrorScope::Mixed(names) if names.iter().any(|name| !held[..known].contains(name)) => {
                        tracing::error!("{fault}; this reload leaves {} as before: restart", names.join(", "));
                        held.extend(names);
                    }
                    _ => bail!("{fault}; other settings have changed that need a restart first"),
                }
            }
            if held.len() == known {
                return Ok(settings);
            }
        }
    }
}

/// Returns the secrets of before and those of now, because what runs may still show the former ones.
fn with(former: &Masks, now: Vec<Zeroizing<String>>) -> Vec<Zeroizing<String>> {
    let mut all = former.borrow().to_vec();
    for secret in now {
        if !all.contains(&secret) {
            all.push(secret);
        }
    }
    all
}

/// The requests to read the settings again.
pub struct Reloads {
    pub source: SettingsSource,
    /// The settings that the daemon started with.
    pub started_with: LoadedSettings,
    /// Receiver of one message for each request.
    pub requests: mpsc::Receiver<()>,
}

impl Reloads {
    /// Answers the requests until it is dropped.
    pub(super) async fn run(mut self, mut live: LiveParts) {
        let mut before = None;
        while self.requests.recv().await.is_some() {
            if let Ok(now) = NotifyState::monotonic_usec_now() {
                notify_systemd(&[NotifyState::Reloading, now]);
            }
            match self.reload(&mut live, before.as_ref()) {
                Ok(loaded) => before = Some(loaded),
                Err(SettingErrors(errors)) => {
                    for error in errors {
                        tracing::error!("the settings are not taken, and the former ones stay in effect: {error}");
                    }
                }
            }
            notify_systemd(&[NotifyState::Ready]);
        }
    }

    fn reload(&self, live: &mut LiveParts, before: Option<&LoadedSettings>) -> Result<LoadedSettings, SettingErrors> {
        let mut loaded = self.source.load();
        loaded.check(super::check_at_reload);
        let mut held = Vec::new();
        for error in loaded.take_errors_of_restart() {
            let left = match ErrorScope::of(&error) {
                ErrorScope::Mixed(names) => {
                    held.extend(names.iter().copied());
                    format!("leaves {} as before", names.join(", "))
                }
                _ => "takes no setting that needs a restart".into(),
            };
            tracing::error!("{error}; this reload {left}, but the next start would fail");
        }
        loaded.warnings.extend(super::warnings(loaded.read()));
        loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let is_admin_token_new = live
            .take(loaded.settings()?, &mut held)
            .map_err(|error| SettingErrors(vec![SettingError::new([], format!("{error:#}"))]))?;
        let before = before.unwrap_or(&self.started_with);
        loaded.hold(&held, before);
        let mut changed = loaded.changes_since(before).live;
        changed.extend(is_admin_token_new.then_some("DATA_DIR/admin-token"));
        match &*changed {
            [] => tracing::info!("the settings and certificates were read again: no setting has a new value in effect"),
            names => tracing::info!("the settings and certificates were read again: {} changed", names.join(", ")),
        }
        if changed.iter().any(|name| ["HOOK_SECRET", "HOOK_POST_SECRET"].contains(name)) {
            summary::log_webhooks(&live.settings);
        }
        let changes = loaded.changes_since(&self.started_with);
        if !changes.restart.is_empty() {
            let names = changes.restart.join(", ");
            tracing::warn!("settings that changed and need a restart, which loses no job: {names}");
        }
        for (name, place) in &changes.hidden {
            tracing::warn!(
                "{name} changed in a file, without effect: it is also set {place}; remove it there, and restart"
            );
        }
        Ok(loaded)
    }
}
