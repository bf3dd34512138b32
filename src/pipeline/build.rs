use std::collections::BTreeMap;
use std::sync::Arc;

use super::Tools;
use super::checkout::{DOCKERFILE, times_key};
use super::clone::Fetched;
use super::stage::{End, Failed, Stagehand, within};
use crate::engine::{BuildRequest, EngineError};
use crate::git::Snapshot;
use crate::model::{ImageRef, LogSink, Millis, StageName};
use crate::secrets::Secrets;

/// The label that names the job of an image.
const JOB_LABEL: &str = "io.image-factory.job";

impl From<EngineError> for Failed {
    fn from(e: EngineError) -> Self {
        Self { exit_code: e.exit_code.unwrap_or(1), message: e.message }
    }
}

pub(super) async fn run(
    tools: &Tools,
    secrets: &Arc<Secrets>,
    fetched: &Fetched,
    snapshot: Arc<Snapshot>,
    hand: &mut Stagehand,
) -> Result<ImageRef, End> {
    let log = hand.log.clone();
    let job = &hand.job;
    let (id, attempt, text) = (job.id, job.attempt, job.image.clone());
    let command = format!("docker build -t {text} ./");
    let work = within(tools.config.build_timeout, "BUILD_TIMEOUT", async {
        let image = ImageRef::parse(&text).map_err(Failed::new)?;
        let labels = BTreeMap::from([
            ("org.opencontainers.image.source".to_owned(), web_url(&fetched.url)),
            ("org.opencontainers.image.revision".to_owned(), snapshot.commit.to_string()),
            ("org.opencontainers.image.created".to_owned(), Millis::now().to_string()),
            (JOB_LABEL.to_owned(), id.to_string()),
        ]);
        let request = BuildRequest {
            snapshot,
            dockerfile: DOCKERFILE,
            images: std::slice::from_ref(&image),
            target: None,
            build_args: BTreeMap::new(),
            platform: None,
            labels,
            build_id: format!("{id}-{attempt}"),
            sync_key: times_key(fetched),
            secrets: secrets.clone(),
        };
        let built = tools.engine.build(request, &*log).await?;
        log.write(format!("image: {}\n", built.image_id).as_bytes());
        Ok(image)
    });
    hand.stage(StageName::Build, &command, work).await
}

/// The address for `org.opencontainers.image.source`: of GitHub's ssh form, the page.
fn web_url(url: &str) -> String {
    let url = url.strip_suffix(".git").unwrap_or(url);
    match url.strip_prefix("git@github.com:") {
        Some(path) => format!("https://github.com/{path}"),
        None => url.to_owned(),
    }
}
