//! A build on one engine: BuildKit builds if possible, otherwise the classic builder.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sha2::{Digest, Sha256};

use super::advice::{self, with_cure};
use super::api::engine::Engine;
use super::api::errors::{EngineError, KilledBy, SIGKILL_EXIT, one_line, write_line};
use super::api::kind::ErrorKind;
use super::buildkit::base_logins::BaseLogins;
use super::buildkit::session::{Session, SessionError};
use super::context::git_dir::{GitErrorDetector, explain_git_dir};
use super::context::tree::{SyncStats, Tree};
use super::explain::explain;
use super::request::{BuiltImage, ImageBuild, StepCounts};
use super::upkeep::oom::OomCounter;
use crate::git::compute;
use crate::model::{Builder, LogSink, Sharing};

/// Build argument by which BuildKit is asked for an inline cache. The classic builder would warn of it.
const INLINE_CACHE_ARG: &str = "BUILDKIT_INLINE_CACHE";

impl Engine {
    /// Builds and tags an image. Dropping the future cancels the build; a `RUN` step is then killed in about 30 ms.
    pub async fn build(&self, build: ImageBuild<'_>, log: &dyn LogSink) -> Result<BuiltImage, EngineError> {
        let ooms = OomCounter::start().await;
        let (snapshot, context, bounds) = (build.snapshot.clone(), build.context.to_vec(), build.pattern_bounds);
        let tree = Arc::new(compute(move || Tree::new(snapshot, &context, bounds)).await);
        let sent = build.context_sent.clone();
        let log = GitErrorDetector::new(log);
        let built = tokio::select! {
            built = self.build_tree(build, tree.clone(), &log) => built,
            never = tree.report_progress(&log, &sent) => match never {},
        };
        match explain_git_dir(&tree, &log, built).await {
            Err(e) if e.exit_code == Some(SIGKILL_EXIT) && e.kind == ErrorKind::Build => {
                let killer = ooms.killed_by(self).await;
                if killer != KilledBy::Kernel && self.is_stopping().await {
                    return Err(EngineError::engine(advice::STOPPED.fill(&[&e.step_name()])));
                }
                Err(e.killed(killer))
            }
            built => built,
        }
    }

    async fn build_tree(
        &self,
        mut build: ImageBuild<'_>,
        tree: Arc<Tree>,
        log: &dyn LogSink,
    ) -> Result<BuiltImage, EngineError> {
        let bases = build.bases.iter().map(|base| base.image.clone()).collect();
        let logins = Arc::new(BaseLogins::new(build.logins.clone(), bases, self.login_guard().await?));
        let builder = self.builder_now().await?;
        if builder == Builder::Classic {
            return self.build_classic(&build, tree, &logins, log).await;
        }
        if build.inline_cache {
            build.build_args.entry(INLINE_CACHE_ARG.into()).or_insert_with(|| "1".into());
        }
        if let Some(namespace) = &build.cache_namespace {
            build.build_args.insert(Sharing::NAMESPACE.into(), namespace.clone());
        }
        let slot = self.slots.take(&build.sync_key);
        let shared_key = format!("{}:{}/{}", build.sync_key, build.snapshot.generation, slot.number);
        // The key is hashed, because it may have characters that a header may not.
        let shared_key = hex::encode(Sha256::digest(shared_key));

        let refused = match Session::open(self, &shared_key, tree.clone(), logins.clone()).await {
            Ok(session) => match self.build_with(&build, &session, &logins, log).await {
                Ok((image_id, steps)) => {
                    let sync = tree.sent();
                    let entries = tree.snapshot.entries.len();
                    let SyncStats { requests, bytes, .. } = sync;
                    write_line(
                        log,
                        &format!("Sent what changed: {requests} files, {bytes} bytes, of a tree of {entries} entries"),
                    );
                    return Ok(BuiltImage { image_id, sync: Some(sync), steps });
                }
                Err(e) if !tree.was_called() && is_session_unknown(&e.message) => e.message,
                Err(e) => {
                    let failure = tree.failure().unwrap_or(e);
                    let failure = explain(failure, &tree, build.dockerfile, Some(Builder::Buildkit)).await;
                    return Err(logins.explain(failure));
                }
            },
            Err(SessionError::Refused(reason)) => reason,
            Err(SessionError::Failed(e)) => return Err(e),
        };
        let refused = one_line(&refused);
        if self.builder == Builder::Buildkit {
            return Err(EngineError::engine(with_cure(&advice::NO_SESSION, &[&refused])));
        }
        let so_far = self.fallbacks.fetch_add(1, Relaxed) + 1;
        tracing::warn!(build = build.build_id, so_far, "the engine at {} accepts no session: {refused}", self.host);
        write_line(
            log,
            &format!("FileSync cannot be used ({refused}): the whole tree is sent as a tar to the classic builder"),
        );
        build.build_args.remove(Sharing::NAMESPACE);
        self.build_classic(&build, tree, &logins, log).await
    }

    /// Builds by BuildKit, and writes to the log of which registry the engine got one login for several.
    async fn build_with(
        &self,
        build: &ImageBuild<'_>,
        session: &Session,
        logins: &BaseLogins,
        log: &dyn LogSink,
    ) -> Result<(String, StepCounts), EngineError> {
        if !build.limits.is_empty() {
            let names: Vec<_> = build.limits.keys().map(String::as_str).collect();
            write_line(log, &format!("BuildKit has no limits for steps: {} is passed over", names.join(", ")));
        }
        let built = self.build_by_buildkit(build, &session.id, log).await;
        logins.notes().iter().for_each(|line| write_line(log, line));
        built
    }
}

/// Returns true for BuildKit's messages about a session that did not arrive or that lacks our methods.
fn is_session_unknown(message: &str) -> bool {
    ["no active session", "no local sources enabled", "client-session", "failed to get session"]
        .iter()
        .any(|part| message.contains(part))
}
