use serde::Serialize;

use crate::model::{Job, JobId, Millis, Status};

/// A job as Conveyor shows a build. The fields are in the order of the wire.
#[derive(Serialize)]
pub struct BuildView<'a> {
    /// Empty if the request named none.
    branch: &'a str,
    completed_at: Option<Millis>,
    created_at: Millis,
    id: JobId,
    repository: String,
    sha: &'a str,
    started_at: Option<Millis>,
    state: &'static str,
}

impl<'a> From<&'a Job> for BuildView<'a> {
    fn from(job: &'a Job) -> Self {
        let context = &job.context;
        Self {
            branch: if context.branch_left_out { "" } else { &context.branch },
            completed_at: job.end,
            created_at: job.created,
            id: job.id,
            repository: format!("{}/{}", context.owner, context.repo),
            sha: sha(job),
            started_at: job.start,
            state: match job.status {
                Status::Pending => "pending",
                Status::Running => "building",
                Status::Success => "succeeded",
                Status::Failure | Status::Cancelled => "failed",
            },
        }
    }
}

/// Returns the commit that was built, or is to be.
fn sha(job: &Job) -> &str {
    job.resolved_commit.as_ref().map_or(&job.context.commit, |commit| commit.as_str())
}

#[derive(Serialize)]
struct BuildReference {
    id: JobId,
}

/// The image that a job has pushed. It has the job's id, because a job makes one.
#[derive(Serialize)]
pub struct ArtifactView {
    build: BuildReference,
    id: JobId,
    image: String,
}

impl ArtifactView {
    /// Returns the artifact of a job that has succeeded and pushed its image, else none. The image has the commit's tag, or else
    /// its digest.
    pub fn of(job: &Job) -> Option<Self> {
        let digest = job.digest.as_deref().filter(|_| job.status == Status::Success)?;
        let end = format!(":{}", sha(job));
        let pushed = job.tags.iter().filter(|tag| tag.digest.is_some()).map(|tag| &*tag.name);
        let tagged = pushed.chain([&*job.image]).find(|name| name.ends_with(&end)).map(str::to_owned);
        let by_digest = || format!("{}@{digest}", image_name(&job.image));
        Some(Self { build: BuildReference { id: job.id }, id: job.id, image: tagged.unwrap_or_else(by_digest) })
    }
}

/// Cuts the tag off a job's image.
pub fn image_name(image: &str) -> &str {
    image.rsplit_once(':').map_or(image, |(name, _)| name)
}
