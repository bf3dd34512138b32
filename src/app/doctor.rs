//! What `image-factory doctor` looks at: all that a build needs, each part asked as the daemon asks it. Nothing of a
//! daemon that runs is touched: no lock is taken, no mirror, no state.

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
mod post_build;
mod registry;
mod room;
mod secrets;
mod syslog;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesOrdered, Stream, StreamExt};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::model::{GitRef, RepoName};
use crate::settings::Settings;

/// A check that takes longer has found something: ssh gives a silent host 15 s.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// It works, or can wait, but somebody should know.
    Warn,
    /// It does not work.
    Bad,
}

/// One line of the doctor's: what was looked at and how it is.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// One word; several findings may have the same.
    pub check: &'static str,
    pub status: Status,
    /// One line; when not ok, also what to do. Nothing secret.
    pub message: String,
}

impl Finding {
    fn new(check: &'static str, status: Status, message: impl Into<String>) -> Self {
        Self { check, status, message: message.into() }
    }

    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Status::Ok, message)
    }

    fn warn(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Status::Warn, message)
    }

    pub fn bad(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Status::Bad, message)
    }
}

/// The repository whose access is tried.
#[derive(Debug, Clone)]
pub struct Patient {
    pub repo: RepoName,
    pub branch: Option<GitRef>,
}

/// What is wrong with the settings, if that keeps the daemon from starting. The other checks need settings.
pub fn settings(settings: &Settings) -> Finding {
    match super::check(settings) {
        Ok(()) => Finding::ok(SETTINGS, "valid"),
        Err(error) => Finding::bad(SETTINGS, format!("{error:#}")),
    }
}

/// The name of the first check.
pub const SETTINGS: &str = "settings";

/// Makes all checks at once, 20 s each at most; findings come in a fixed order, each as soon as those before it are
/// there. Settings that [`settings`] finds bad give bad findings here, too.
pub fn examine(settings: Settings, patient: Option<Patient>) -> impl Stream<Item = Finding> {
    let settings = Arc::new(settings);
    let stop = CancellationToken::new();
    let live = secrets::load(&settings, stop.clone());
    let s = || settings.clone();
    let checks: [(&'static str, BoxFuture<'static, Vec<Finding>>); 15] = [
        (data::NAME, Box::pin(data::check(s()))),
        (daemon::NAME, Box::pin(daemon::check(s()))),
        (address::NAME, Box::pin(address::check(s()))),
        (clock::NAME, Box::pin(clock::check(s()))),
        (secrets::NAME, Box::pin(secrets::check(s()))),
        (engine::NAME, Box::pin(engine::check(s()))),
        (git::PROGRAMS, Box::pin(git::programs(s()))),
        (git::NAME, Box::pin(git::check(s(), live.clone(), patient.clone()))),
        (registry::NAME, Box::pin(registry::check(s(), live, patient))),
        (images::NAME, Box::pin(images::check(s()))),
        (post_build::NAME, Box::pin(post_build::check(s()))),
        (chat::NAME, Box::pin(chat::check(s()))),
        (mail::NAME, Box::pin(mail::check(s()))),
        (syslog::NAME, Box::pin(syslog::check(s()))),
        (limits::NAME, Box::pin(limits::check())),
    ];
    let findings: FuturesOrdered<_> = checks.into_iter().map(|(name, check)| within_limit(name, check)).collect();
    // The secrets are watched as long as somebody reads this.
    let guard = stop.drop_guard();
    findings.flat_map(stream::iter).inspect(move |_| _ = &guard)
}

async fn within_limit(name: &'static str, check: BoxFuture<'static, Vec<Finding>>) -> Vec<Finding> {
    let late =
        |_| vec![Finding::bad(name, format!("no answer within {} s: is it there, and reached?", LIMIT.as_secs()))];
    tokio::time::timeout(LIMIT, check).await.unwrap_or_else(late)
}
