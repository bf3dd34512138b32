use futures_util::future::BoxFuture;

use super::Tools;
use super::stage::StageRunner;
use crate::model::{Job, JobSource, LogSink, RequestedImage};

/// The record of the repositories that have pushed an image.
pub trait ImageUsers: Send + Sync {
    /// Returns the other repositories (`owner/repo`) that have pushed the image of this job, or an error of one line.
    fn others<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<Vec<String>, String>>;
}

/// Writes to the job's log which other repositories push the job's image. A failed look-up fails no job, because the image
/// itself does not depend on it.
pub(super) async fn log_shared_image(tools: &Tools, runner: &StageRunner) {
    let job = &runner.job;
    match tools.users.others(job).await {
        Ok(others) if others.is_empty() => {}
        Ok(others) => runner.log.write(shared_image_line(job, &others).as_bytes()),
        Err(error) => tracing::warn!(error, "the other repositories of an image cannot be looked up"),
    }
}

/// Returns the log line about an image that other repositories push, too.
fn shared_image_line(job: &Job, others: &[String]) -> String {
    let name = job.image.rsplit_once(':').map_or(&*job.image, |(name, _)| name);
    let is_requested = job.source != JobSource::Git
        || matches!(job.context.build_options().unwrap_or_default().image, Some(RequestedImage::Absolute(_)));
    let advice = match is_requested {
        true => "IMAGES_ALLOWED lets this one push there",
        false => "IMAGE_NAME={owner}/{repo} gives each repository a name of its own",
    };
    format!("{name} is also the image of {}: their tags replace each other. {advice}.\n", others.join(", "))
}
