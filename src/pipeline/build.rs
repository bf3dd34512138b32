use std::collections::BTreeMap;
use std::sync::Arc;

use super::Tools;
use super::clone::Fetched;
use super::epoch;
use super::folder;
use super::stage::{End, Failed, Stagehand};
use crate::engine::{BuildRequest, EngineError, ErrorKind, Lease};
use crate::git::Snapshot;
use crate::model::{FailureClass, ImageRef, JobId, LogSink, Millis, StageName, bare_name};
use crate::secrets::Secrets;

/// The label that names the job of an image.
const JOB_LABEL: &str = "io.image-factory.job";

impl From<EngineError> for Failed {
    fn from(e: EngineError) -> Self {
        let class = match e.kind {
            ErrorKind::Build => FailureClass::Dockerfile,
            ErrorKind::Memory => FailureClass::OutOfMemory,
            ErrorKind::Auth | ErrorKind::Exposed => FailureClass::RegistryAuth,
            ErrorKind::Registry => FailureClass::Registry,
            ErrorKind::Engine => FailureClass::Engine,
            ErrorKind::Tree => FailureClass::LostWorker,
        };
        Self { exit_code: e.exit_code.unwrap_or(1), class, message: e.message }
    }
}

/// An image in the engine.
pub(super) struct Built {
    /// `sha256:…` of its configuration.
    pub id: String,
    /// What it is to be called, the job's own name first.
    pub names: Vec<ImageRef>,
    pub commit: String,
}

impl Built {
    /// Does this name say which commit it is? Then it is never another one's.
    pub fn is_named(commit: &str, image: &ImageRef) -> bool {
        commit.get(..7).is_some_and(|short| image.tag().contains(short))
    }
}

/// Builds the image; and the engine that has it. That gives it only those of its names that no other commit can have: the others are given, one
/// job at a time, as they are pushed.
pub(super) async fn run(
    tools: &Tools,
    secrets: &Arc<Secrets>,
    fetched: &Fetched,
    snapshot: Arc<Snapshot>,
    hand: &mut Stagehand,
) -> Result<(Built, Lease), End> {
    let log = hand.log.clone();
    let job = &hand.job;
    let (id, attempt, text) = (job.id, job.attempt, job.image.clone());
    let Fetched { plan, repo, .. } = fetched;
    // What infrastructure ended is tried on another engine, if there is one.
    let avoid = job.engine.clone().filter(|_| job.failures > 0);
    let repo = repo.to_string();
    let engine = hand.unless_cancelled(tools.engines.lease(&repo, avoid.as_deref())).await;
    hand.engine = engine.iter().flatten().next().map(Lease::engine);
    let work = log.within(tools.config.build_timeout, "BUILD_TIMEOUT", async {
        // The stage sees itself that it is cancelled.
        let Some(engine) = engine else { return std::future::pending().await };
        let engine = engine?;
        let mut images = vec![ImageRef::parse(&text).map_err(|e| Failed::new(FailureClass::Source, e))?];
        let branch = fetched.git_ref.as_deref().map(bare_name);
        for template in &tools.config.image_tags {
            // A commit of no branch takes none of the tags that say what a branch has.
            if branch.is_none() && !template.is_of_commit() {
                log.write(
                    format!("IMAGE_TAGS: {template} is left out, as the commit is built as one of no branch\n")
                        .as_bytes(),
                );
                continue;
            }
            let tag = template.of(branch.unwrap_or_default(), &snapshot.commit.to_string());
            let image = images[0].with_tag(&tag);
            let image = image.map_err(|e| Failed::new(FailureClass::Source, e))?;
            if !images.contains(&image) {
                images.push(image);
            }
        }
        let mut build_args = plan.build_args.clone();
        if !build_args.contains_key(epoch::NAME)
            && let Some(seconds) = epoch::of(&snapshot, plan.dockerfile.as_str()).await?
        {
            build_args.insert(epoch::NAME.into(), seconds.to_string());
        }
        let epoch = build_args
            .get(epoch::NAME)
            .and_then(|seconds| seconds.parse().ok())
            .filter(|s| (0..=epoch::LATEST).contains(s));
        let commit = snapshot.commit.to_string();
        let own: Vec<_> = images.iter().filter(|image| Built::is_named(&commit, image)).cloned().collect();
        let context = folder::of(&snapshot, &fetched.repo, &plan.context).await?;
        let labels = labels(&fetched.url, &snapshot, id, epoch);
        let request = BuildRequest {
            snapshot,
            context: &context,
            dockerfile: plan.dockerfile.as_str(),
            images: &own,
            target: plan.target.as_deref(),
            build_args,
            platform: plan.platform.as_deref(),
            labels,
            build_id: format!("{id}-{attempt}"),
            sync_key: fetched.sync_key(),
            secrets: secrets.clone(),
        };
        let built = engine.build(request, &images, &*log).await?;
        tools.metrics.build_steps(built.steps.cached, built.steps.run);
        log.write(format!("image: {}\n", built.image_id).as_bytes());
        Ok((Built { id: built.image_id, names: images, commit }, engine))
    });
    hand.stage(StageName::Build, &plan.command(&text), work).await
}

/// With a `SOURCE_DATE_EPOCH` they are the same for each build of a commit, so that the image can be.
fn labels(url: &str, snapshot: &Snapshot, id: JobId, epoch: Option<i64>) -> BTreeMap<String, String> {
    let created = epoch.map_or_else(Millis::now, |seconds| Millis(seconds.saturating_mul(1000)));
    let mut labels = BTreeMap::from([
        ("org.opencontainers.image.source".to_owned(), web_url(url)),
        ("org.opencontainers.image.revision".to_owned(), snapshot.commit.to_string()),
        ("org.opencontainers.image.created".to_owned(), created.to_string()),
    ]);
    if epoch.is_none() {
        labels.insert(JOB_LABEL.to_owned(), id.to_string());
    }
    labels
}

/// The address for `org.opencontainers.image.source`: of GitHub's ssh form, the page.
fn web_url(url: &str) -> String {
    let url = url.strip_suffix(".git").unwrap_or(url);
    match url.strip_prefix("git@github.com:") {
        Some(path) => format!("https://github.com/{path}"),
        None => url.to_owned(),
    }
}
