use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard_buildkit_proto::moby::buildkit::v1::StatusResponse;
use hyper::Method;
use prost::Message;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::git::Snapshot;
use crate::model::{ImageRef, LogSink};
use crate::secrets::Secrets;

use super::api::connect::{invalid, no_body, request};
use super::api::errors::{EngineError, ErrorKind, KILLED, one_line, say};
use super::api::messages::Lines;
use super::buildkit::filesync::{SyncStats, Tree};
use super::buildkit::progress::Progress;
use super::buildkit::session::{NoSession, Session};
use super::context::hint::{Listening, about_git_dir};
use super::upkeep::oom::Watch;
use super::{Builder, Engine};

pub struct BuildRequest<'a> {
    pub snapshot: Arc<Snapshot>,
    /// The folder of the tree that is the context, without links on the way; empty for all of it.
    pub context: &'a [u8],
    /// Path in the tree, whatever is the context.
    pub dockerfile: &'a str,
    /// Every name that the image gets.
    pub images: &'a [ImageRef],
    /// The stage to stop at; none: the last.
    pub target: Option<&'a str>,
    pub build_args: BTreeMap<String, String>,
    /// `linux/arm64`; none: the engine's own.
    pub platform: Option<&'a str>,
    pub labels: BTreeMap<String, String>,
    /// Unique per attempt.
    pub build_id: String,
    /// Stable per repository **and** context, Dockerfile and target: two on one key would evict each other, as
    /// the engine is sent only what these copy.
    pub sync_key: String,
    /// Credentials for base images, each to its own registry alone.
    pub secrets: Arc<Secrets>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// `sha256:…` of the image's configuration.
    pub image_id: String,
    /// What was sent by FileSync; `None` if the classic builder was used, which takes a tar.
    pub sync: Option<SyncStats>,
    /// None is counted by the classic builder.
    pub steps: Steps,
}

/// How many of a Dockerfile's steps the engine's cache had, and how many it ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Steps {
    pub cached: u64,
    pub run: u64,
}

impl BuildRequest<'_> {
    /// The path of `POST /build`, with the Dockerfile's name for the builder and what else is the builder's own.
    pub(super) fn path(&self, dockerfile: &str, more: &[(&str, &str)]) -> String {
        let labels = Value::from_iter(self.labels.clone()).to_string();
        let build_args = Value::from_iter(self.build_args.clone()).to_string();
        let mut query = form_urlencoded::Serializer::new(String::from("/build?"));
        for image in self.images {
            query.append_pair("t", &image.to_string());
        }
        query.append_pair("labels", &labels).append_pair("dockerfile", dockerfile);
        query.append_pair("buildargs", &build_args);
        for (name, value) in [("target", self.target), ("platform", self.platform)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query.extend_pairs(more).finish()
    }
}

impl Engine {
    /// Builds and tags an image. Dropping the future cancels the build: a `RUN` step is gone in
    /// about 30 ms.
    pub async fn build(&self, build: BuildRequest<'_>, log: &dyn LogSink) -> Result<Built, EngineError> {
        let watch = Watch::start().await;
        let tree = Arc::new(Tree::new(build.snapshot.clone(), build.context));
        let listening = Listening::new(log);
        let built = tokio::select! {
            built = self.build_tree(build, tree.clone(), &listening) => built,
            never = tree.watch(log) => match never {},
        };
        match about_git_dir(&tree, &listening, built) {
            Err(e) if e.exit_code == Some(KILLED) && e.kind == ErrorKind::Build => {
                Err(e.killed(watch.killer(&self.host).await))
            }
            built => built,
        }
    }

    async fn build_tree(
        &self,
        build: BuildRequest<'_>,
        tree: Arc<Tree>,
        log: &dyn LogSink,
    ) -> Result<Built, EngineError> {
        let builder = self.builder_now().await?;
        if builder == Builder::Classic {
            return self.build_classic(&build, tree, log).await;
        }
        let slot = self.slots.take(&build.sync_key);
        let shared_key = format!("{}:{}/{}", build.sync_key, build.snapshot.generation, slot.number);
        // A key may be a path of any characters; a header may not.
        let shared_key = hex::encode(Sha256::digest(shared_key));

        let refused = match Session::open(&self.host, &shared_key, tree.clone(), build.secrets.clone()).await {
            Ok(session) => match self.run(&build, &session.id, log).await {
                Ok((image_id, steps)) => {
                    let sync = tree.sent();
                    let entries = tree.snapshot.entries.len();
                    let SyncStats { requests, bytes, .. } = sync;
                    say(
                        log,
                        &format!("Sent what changed: {requests} files, {bytes} bytes, of a tree of {entries} entries"),
                    );
                    return Ok(Built { image_id, sync: Some(sync), steps });
                }
                Err(e) if !tree.was_called() && knows_no_session(&e.message) => e.message,
                Err(e) => return Err(tree.failure().unwrap_or(e)),
            },
            Err(NoSession::Refused(why)) => why,
            Err(NoSession::Failed(e)) => return Err(e),
        };
        let refused = one_line(&refused);
        if self.builder == Builder::Buildkit {
            return Err(EngineError::engine(format!(
                "BuildKit cannot be given the tree ({refused}): let POST /session through to the engine at {}, or set \
                 BUILDER=auto",
                self.host
            )));
        }
        let so_far = self.fallbacks.fetch_add(1, Relaxed) + 1;
        tracing::warn!(build = build.build_id, so_far, "{} takes no session: {refused}", self.host);
        say(
            log,
            &format!("FileSync cannot be used ({refused}): the whole tree is sent as a tar, to the classic builder"),
        );
        self.build_classic(&build, tree, log).await
    }

    /// One `POST /build`; `session` serves its context.
    async fn run(
        &self,
        build: &BuildRequest<'_>,
        session: &str,
        log: &dyn LogSink,
    ) -> Result<(String, Steps), EngineError> {
        let path = build.path(
            build.dockerfile,
            &[("version", "2"), ("buildid", &build.build_id), ("remote", "client-session"), ("session", session)],
        );
        let request = request(Method::POST, &path).body(no_body()).map_err(invalid)?;
        let reply = self.host.send(request).await?.accepted().await.map_err(EngineError::of_refusal)?;

        let mut progress = Progress::default();
        let result = follow(Lines::new(reply), &mut progress, log).await;
        log.write(&progress.rest());
        if progress.clipped() {
            say(log, CLIPPED);
        }
        result.map(|image_id| (image_id, progress.steps())).map_err(|mut e| {
            if let Some(platform) = build.platform.filter(|_| progress.foreign()) {
                e.message += &format!(
                    "; the engine's machine cannot run programs of {platform}: install qemu-user-static there (binfmt_misc), or \
                     let the Dockerfile build them on $BUILDPLATFORM"
                );
            }
            e
        })
    }
}

/// A step may write 1 MiB (2 MiB in later engines), and 200 KiB/s. (With -1, unlimited, Docker 20.10 leaves out
/// everything; with a higher speed it may lose itself, see [`LOST`].)
const CLIPPED: &str = "The engine left out a part of a step's output. To keep it all, set \
    BUILDKIT_STEP_LOG_MAX_SIZE=1073741824 and, unless it is Docker 20.10, BUILDKIT_STEP_LOG_MAX_SPEED=1073741824 in \
    dockerd's environment";

/// Docker 20.10 does not come back from reporting more than 1 MiB of output at once: it sends empty reports for ever,
/// thousands a second, and never the build's end (<https://github.com/moby/buildkit/issues/1915>).
const LOST: &str = "the engine lost itself in a step's output, as Docker 20.10 does with more than 1 MiB at once: leave \
    BUILDKIT_STEP_LOG_MAX_SPEED in dockerd's environment at its default, 204800, or take a newer Docker";
/// So many empty reports in a row are no others'.
const ENDLESS: u32 = 1000;

/// The answer to its end, which is an image's id. Its status is 200 for failed builds too: success is an image and a clean
/// end.
async fn follow(mut lines: Lines, progress: &mut Progress, log: &dyn LogSink) -> Result<String, EngineError> {
    let (mut image, mut empty) = (None, 0);
    while let Some(line) = lines.next().await? {
        if let Some(error) = line.error {
            return Err(EngineError::of_build(&error, progress.failed.as_deref()));
        }
        match line.id.as_str() {
            "moby.buildkit.trace" => {
                let trace = line.aux.as_str().and_then(|text| STANDARD.decode(text).ok());
                empty = if trace.as_ref().is_some_and(Vec::is_empty) { empty + 1 } else { 0 };
                if empty == 0 {
                    log.alive();
                }
                if empty == ENDLESS {
                    return Err(EngineError::engine(LOST));
                }
                // A name that is not UTF-8 costs its lines, not the build.
                if let Some(Ok(status)) = trace.map(|bytes| StatusResponse::decode(bytes.as_slice())) {
                    let text = progress.lines(status);
                    if !text.is_empty() {
                        log.write(&text);
                    }
                }
            }
            "moby.image.id" => image = line.aux["ID"].as_str().map(str::to_owned),
            _ => {}
        }
    }
    image.ok_or_else(|| EngineError::engine("the engine ended the build without an image: see its own log"))
}

/// BuildKit's words for a session that did not arrive or lacks our methods.
fn knows_no_session(message: &str) -> bool {
    ["no active session", "no local sources enabled", "client-session", "failed to get session"]
        .iter()
        .any(|words| message.contains(words))
}
