//! The checks of `image-factory doctor`: everything that a build needs, asked as the daemon asks it. A daemon that runs is
//! not disturbed, because the checks take no lock and touch no mirror and no state.

mod address;
mod chat;
mod clock;
mod daemon;
mod data;
mod engine;
mod git;
mod images;
mod limits;
mod mail;
mod medium;
mod network;
mod post_build;
mod registry;
mod room;
mod secrets;
mod ssh;
mod syslog;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesOrdered, Stream, StreamExt};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::model::{GitRef, RepoName};
use crate::settings::{LoadedSettings, SettingErrors, Settings};

/// Longest time of a check. ssh waits 15 s for a silent host.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingStatus {
    Ok,
    /// The thing works, or can wait, but the operator should know.
    Warn,
    /// The thing does not work.
    Bad,
}

/// One line of the report: the thing that was checked, and its state.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// Name of the check, in one word. Several findings may have the same.
    pub check: &'static str,
    pub status: FindingStatus,
    /// One line without secrets. It says what to do unless the status is ok.
    pub message: String,
}

impl Finding {
    fn new(check: &'static str, status: FindingStatus, message: impl Into<String>) -> Self {
        Self { check, status, message: message.into() }
    }

    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, FindingStatus::Ok, message)
    }

    fn warn(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, FindingStatus::Warn, message)
    }

    pub fn bad(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, FindingStatus::Bad, message)
    }
}

/// Repository to which access is tried.
#[derive(Debug, Clone)]
pub struct ProbedRepo {
    pub repo: RepoName,
    pub branch: Option<GitRef>,
}

/// Returns what was found about the settings themselves. A bad finding keeps the daemon from starting.
pub fn settings(loaded: &LoadedSettings) -> Vec<Finding> {
    let warnings = loaded.warnings.iter().map(|warning| Finding::warn(SETTINGS, warning.as_str()));
    let verdict = match loaded.settings() {
        Ok(_) => vec![Finding::ok(SETTINGS, "valid")],
        Err(SettingErrors(errors)) => errors.iter().map(|error| Finding::bad(SETTINGS, error.to_string())).collect(),
    };
    warnings.chain(verdict).collect()
}

/// Name of the first check.
pub const SETTINGS: &str = "settings";

/// Makes all checks at once, each in at most 20 s. Findings come in a fixed order, each as soon as those before it have
/// come. Settings that break a rule over several of them give bad findings here, too.
pub fn examine(settings: Settings, probed: Option<ProbedRepo>) -> impl Stream<Item = Finding> {
    let settings = Arc::new(settings);
    let stop = CancellationToken::new();
    let live = secrets::load(&settings, stop.clone());
    let s = || settings.clone();
    let checks: [(&'static str, BoxFuture<'static, Vec<Finding>>); 18] = [
        (data::NAME, Box::pin(data::check(s()))),
        (daemon::NAME, Box::pin(daemon::check(s()))),
        (address::NAME, Box::pin(address::check(s(), probed.clone()))),
        (tls::NAME, Box::pin(tls::check(s()))),
        (clock::NAME, Box::pin(clock::check(s(), live.clone()))),
        (secrets::NAME, Box::pin(secrets::check(s()))),
        (engine::NAME, Box::pin(engine::check(s(), live.clone()))),
        (network::NAME, Box::pin(network::check(s(), live.clone()))),
        (git::PROGRAMS, Box::pin(git::programs(s()))),
        (git::NAME, Box::pin(git::check(s(), live.clone(), probed.clone()))),
        (registry::NAME, Box::pin(registry::check(s(), live, probed))),
        (images::NAME, Box::pin(images::check(s()))),
        (post_build::NAME, Box::pin(post_build::check(s()))),
        (chat::NAME, Box::pin(chat::check(s()))),
        (mail::NAME, Box::pin(mail::check(s()))),
        (ssh::NAME, Box::pin(ssh::check(s()))),
        (syslog::NAME, Box::pin(syslog::check(s()))),
        (limits::NAME, Box::pin(limits::check())),
    ];
    let findings: FuturesOrdered<_> = checks.into_iter().map(|(name, check)| within_limit(name, check)).collect();
    // The secrets are watched as long as the stream is read.
    let guard = stop.drop_guard();
    findings.flat_map(stream::iter).inspect(move |_| _ = &guard)
}

async fn within_limit(name: &'static str, check: BoxFuture<'static, Vec<Finding>>) -> Vec<Finding> {
    let late =
        |_| vec![Finding::bad(name, format!("no answer within {} s: is it there, and reached?", LIMIT.as_secs()))];
    tokio::time::timeout(LIMIT, check).await.unwrap_or_else(late)
}
