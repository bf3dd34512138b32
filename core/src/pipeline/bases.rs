//! Looks up anew the base images that this factory itself moves.
//!
//! An engine that has an image by a name uses it, and asks no registry. An image that jobs push may have moved since, from
//! another engine, so an old copy would be built upon without a word.

use super::Tools;
use super::failure::StageFailure;
use crate::engine::EngineLease;
use crate::model::{BaseImage, ImageRef, LogSink, RepoName};

/// Replaces, in the engine, the base images of this factory that have moved.
pub(super) async fn refresh(
    tools: &Tools,
    engine: &EngineLease,
    (bases, repo): (&[BaseImage], Option<&RepoName>),
    repo_base: &str,
    log: &dyn LogSink,
) -> Result<(), StageFailure> {
    let secrets = tools.secrets.borrow().clone();
    for BaseImage { image, .. } in bases.iter().filter(|base| !base.is_pinned) {
        let key = image.key();
        let below = [&tools.config.repo_base, repo_base].iter().any(|base| is_below(image, base));
        if !below && tools.tags.ledger.holder(&key).await?.is_none() {
            continue;
        }
        let auth = secrets.image_auth(repo, image);
        if let Some(moved) = engine.fetch_moved(image, auth.as_ref(), log).await? {
            // A push of this tag gives the name to its image first, and the engine pushes what has the name.
            let _tag_lock = tools.tags.lock(&key).await;
            engine.tag(&moved, image).await?;
        }
    }
    Ok(())
}

/// Returns true for an image below a `DOCKER_REPO_BASE`. Below a whole registry are the images of others, too, so there the
/// ledger alone decides.
fn is_below(image: &ImageRef, base: &str) -> bool {
    let Ok(example) = ImageRef::parse(&format!("{base}/a/a:a")) else { return false };
    let example = example.canonical();
    let base = example.strip_suffix("a/a").unwrap_or_default();
    base.trim_end_matches('/').contains('/') && image.canonical().starts_with(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_below_the_base_are_known_by_every_spelling() {
        let is_below = |image: &str, base: &str| is_below(&ImageRef::parse(image).unwrap(), base);
        for (image, base) in [
            ("quay.io/totem/acme-hello:1", "quay.io/totem"),
            ("Quay.io/totem/a/b:1", "quay.io/totem"),
            ("acme/hello:1", "docker.io/acme"),
            ("index.docker.io/acme/hello:1", "acme"),
            ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a"),
        ] {
            assert!(is_below(image, base), "{image} {base}");
        }
        for (image, base) in [
            ("quay.io/totem2/hello:1", "quay.io/totem"),
            ("quay.io/totem:1", "quay.io/totem"),
            ("busybox:1", "docker.io/acme"),
            ("busybox:1", "docker.io"),
            ("quay.io/a/b:1", "quay.io"),
        ] {
            assert!(!is_below(image, base), "{image} {base}");
        }
    }
}
