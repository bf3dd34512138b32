//! Keeps an image from tags that read like the id of another commit of its repository.

use super::Tools;
use super::failure::StageFailure;
use crate::git::Mirror;
use crate::model::{CommitId, CommitSpec, FailureClass, ImageRef, LogSink, hashed_tag, reads_as_id};

/// The ids that are an image's own.
pub(super) struct OwnIds<'a> {
    /// The commit as the job names it: its id, the beginning of that, or the id of a tag object.
    pub requested: &'a CommitSpec,
    pub commit: &'a CommitId,
}

/// Adds a hash to the tag of a template if it begins the id of another commit. `of` is what the hash is made of.
pub(super) async fn avoid(
    tools: &Tools,
    mirror: &Mirror,
    image: &mut ImageRef,
    ids: &OwnIds<'_>,
    of: &str,
    log: &dyn LogSink,
) -> Result<(), StageFailure> {
    let Some(other) = other_commit(tools, mirror, image, ids).await? else { return Ok(()) };
    let with_hash = image.with_tag(&hashed_tag(image.tag(), of));
    let with_hash = with_hash.map_err(|error| StageFailure::new(FailureClass::Source, error))?;
    let (former, tag) = (image.tag(), with_hash.tag());
    log.write(format!("{former} becomes {tag}, because the id of commit {other} begins so\n").as_bytes());
    *image = with_hash;
    Ok(())
}

/// Refuses a tag that begins the id of another commit.
pub(super) async fn refuse(
    tools: &Tools,
    mirror: &Mirror,
    image: &ImageRef,
    ids: &OwnIds<'_>,
) -> Result<(), StageFailure> {
    match other_commit(tools, mirror, image, ids).await? {
        None => Ok(()),
        Some(other) => {
            let (tag, commit) = (image.tag(), ids.commit);
            let message = format!(
                "the tag {tag} reads like the id of commit {other}, and the image is of {commit}: choose another tag"
            );
            Err(StageFailure::new(FailureClass::Source, message))
        }
    }
}

/// Returns another commit than the image's whose id, or whose tag object's id, begins with the tag.
async fn other_commit(
    tools: &Tools,
    mirror: &Mirror,
    image: &ImageRef,
    OwnIds { requested, commit }: &OwnIds<'_>,
) -> Result<Option<String>, StageFailure> {
    let tag = image.tag().to_ascii_lowercase();
    if !reads_as_id(&tag) || tag == commit.as_str() || requested.digits() == Some(&tag) {
        return Ok(None);
    }
    Ok(tools.git.other_commit(mirror, &tag, commit.as_str()).await?)
}
