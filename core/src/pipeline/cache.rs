//! Finds the image whose layers an engine without them takes as its cache, as Conveyor's builder did.

use super::Tools;
use crate::engine::EngineLease;
use crate::model::{ImageRef, LogSink, RepoName};

/// Returns the newest image of the job's branch, else of the default branch, as `name@sha256:…`, if the engine has
/// neither. `own` is a name of the job's image, and `moving` has those that another commit can get. An image that cannot be
/// had costs time and no build, so the log alone says why.
pub(super) async fn source(
    tools: &Tools,
    engine: &EngineLease,
    (own, repo): (&ImageRef, Option<&RepoName>),
    moving: impl Iterator<Item = &ImageRef>,
    log: &dyn LogSink,
) -> Option<String> {
    let mut images: Vec<ImageRef> = moving.cloned().collect();
    images.extend(own.with_tag("latest").ok().filter(|latest| !images.contains(latest)));
    let auth = tools.secrets.borrow().image_auth(repo, own);
    engine.cache_source(&images, auth.as_ref(), tools.config.conveyor.inline_cache, log).await
}
