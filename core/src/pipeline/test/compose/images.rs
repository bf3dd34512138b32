//! The images of a project: those that it uses are pulled, and those that it builds are pushed.

use std::collections::BTreeSet;

use super::project::BuiltService;
use crate::git::{PathEnd, Snapshot};
use crate::model::{DockerfilePath, ImageRef, LogSink, PinnedImage, base_images};
use crate::pipeline::activity::ActivityLog;
use crate::pipeline::build::{ImageToPush, PlannedTag};
use crate::pipeline::dockerfile;
use crate::pipeline::failure::StageFailure;
use crate::pipeline::other_ids::{self, OwnIds};
use crate::pipeline::test::TestTask;

/// Size in bytes of the largest Dockerfile that is looked at.
const LARGEST: u64 = 1 << 20;

/// Pulls the images that services use, and the base images for which there is a login, because compose has none. A failure
/// is ignored: compose itself says which image is missing.
pub(super) async fn pull(
    task: &TestTask<'_>,
    used: &[PinnedImage],
    built: &[BuiltService],
    root: &str,
    log: &ActivityLog,
) {
    let mut images: Vec<_> = used.to_vec();
    for service in built {
        let bases = bases(&task.snapshot, service, root).await;
        let secrets = task.tools.secrets.borrow().clone();
        images.extend(
            bases.into_iter().filter(|base| secrets.image_auth(Some(&task.fetched.repo), &base.image).is_some()),
        );
    }
    let mut known = BTreeSet::new();
    for image in images.iter().filter(|image| known.insert(image.to_string())) {
        if let Err(failed) = fetch(task, image, log).await {
            log.write(format!("{image} is not pulled: {}\n", failed.message).as_bytes());
        }
    }
}

/// Fetches an image that the engine lacks, or a newer one that its name has in the registry.
async fn fetch(task: &TestTask<'_>, image: &PinnedImage, log: &ActivityLog) -> Result<(), StageFailure> {
    let auth = task.tools.secrets.borrow().image_auth(Some(&task.fetched.repo), &image.image);
    if image.digest.is_none()
        && let Some(moved) = task.engine.fetch_moved(&image.image, auth.as_ref(), log).await?
    {
        // A push of this tag gives the name to its image first, and the engine pushes what has the name.
        let _tag_lock = task.tools.tags.lock(&image.image.key()).await;
        task.engine.tag(&moved, &image.image).await?;
    }
    Ok(task.engine.fetch_missing(image, auth.as_ref(), log).await?)
}

/// Returns the base images of a service that is built of the commit's files.
async fn bases(snapshot: &Snapshot, service: &BuiltService, root: &str) -> Vec<PinnedImage> {
    let Some(folder) = service.context.strip_prefix(root) else { return Vec::new() };
    let path = format!("{folder}/{}", service.dockerfile);
    let Ok(path) = DockerfilePath::new(path.trim_start_matches('/')) else { return Vec::new() };
    let found = snapshot.find(path.as_str().as_bytes()).await;
    let Ok(PathEnd::File { at, .. }) = found else { return Vec::new() };
    if snapshot.entries[at].size > LARGEST {
        return Vec::new();
    }
    let text = dockerfile::read(snapshot, &path).await.unwrap_or_default();
    let bases = base_images(&text, &service.args).into_iter().filter(|base| !base.is_pinned);
    bases.map(|base| PinnedImage { image: base.image, digest: None }).collect()
}

/// Returns the image of a service as it is to be pushed, if it is.
pub(super) async fn to_push(task: &TestTask<'_>, service: BuiltService) -> Result<Option<ImageToPush>, StageFailure> {
    let Some(image) = service.pushed else { return Ok(None) };
    if let Some(mirror) = &task.fetched.mirror {
        let ids = OwnIds { requested: &task.fetched.wanted.commit, commit: &task.commit };
        other_ids::refuse(task.tools, mirror, &image, &ids).await?;
    }
    let id = task.engine.image_id(&service.image).await?;
    let moving = !names_commit(&image, task.commit.as_str());
    let names = vec![PlannedTag { image, moving, of_versions: false }];
    Ok(Some(ImageToPush { id, names, commit: task.commit.clone(), service: Some(service.name) }))
}

/// Returns true for a tag that is the commit's id, or its first seven digits or more.
fn names_commit(image: &ImageRef, commit: &str) -> bool {
    image.tag().len() >= 7 && commit.starts_with(image.tag())
}
