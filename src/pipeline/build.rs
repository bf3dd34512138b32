use std::collections::BTreeMap;
use std::sync::Arc;

use super::Tools;
use super::clone::Fetched;
use super::epoch;
use super::stage::{End, Failed, Stagehand, within};
use crate::engine::{BuildRequest, EngineError, ErrorKind};
use crate::git::Snapshot;
use crate::model::{FailureClass, ImageRef, JobId, LogSink, Millis, StageName};
use crate::secrets::Secrets;

/// The label that names the job of an image.
const JOB_LABEL: &str = "io.image-factory.job";

impl From<EngineError> for Failed {
    fn from(e: EngineError) -> Self {
        let class = match e.kind {
            ErrorKind::Build => FailureClass::Dockerfile,
            ErrorKind::Auth => FailureClass::RegistryAuth,
            ErrorKind::Registry => FailureClass::Registry,
            ErrorKind::Engine => FailureClass::Engine,
        };
        Self { exit_code: e.exit_code.unwrap_or(1), class, message: e.message }
    }
}

/// Builds the image; its names, the job's own first.
pub(super) async fn run(
    tools: &Tools,
    secrets: &Arc<Secrets>,
    fetched: &Fetched,
    snapshot: Arc<Snapshot>,
    hand: &mut Stagehand,
) -> Result<Vec<ImageRef>, End> {
    let log = hand.log.clone();
    let job = &hand.job;
    let (id, attempt, text) = (job.id, job.attempt, job.image.clone());
    let Fetched { plan, .. } = fetched;
    let work = within(tools.config.build_timeout, "BUILD_TIMEOUT", async {
        let mut images = vec![ImageRef::parse(&text).map_err(|e| Failed::new(FailureClass::Source, e))?];
        for template in &tools.config.image_tags {
            let image = images[0].with_tag(&template.of(fetched.branch.as_str(), &snapshot.commit.to_string()));
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
        let labels = labels(&fetched.url, &snapshot, id, epoch);
        let request = BuildRequest {
            snapshot,
            dockerfile: plan.dockerfile.as_str(),
            images: &images,
            target: plan.target.as_deref(),
            build_args,
            platform: plan.platform.as_deref(),
            labels,
            build_id: format!("{id}-{attempt}"),
            sync_key: fetched.sync_key(),
            secrets: secrets.clone(),
        };
        let built = tools.engine.build(request, &*log).await?;
        tools.metrics.build_steps(built.steps.cached, built.steps.run);
        log.write(format!("image: {}\n", built.image_id).as_bytes());
        Ok(images)
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
