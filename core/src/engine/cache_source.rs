//! Takes an image of a registry as the cache of a build on an engine that lacks its layers.
//!
//! The classic builder compares steps with the history of an image that it has, so the image is pulled. With such an image
//! it looks at nothing else, so an engine with layers of its own gets none. BuildKit fetches the layers that it uses by
//! itself, and knows their steps only from an image that it made with an inline cache.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use super::api::engine::Engine;
use super::api::errors::{EngineError, write_line};
use super::api::kind::ErrorKind;
use crate::model::{Builder, ImageRef, LogSink};
use crate::secrets::RegistryAuth;

/// Longest time for finding and pulling the image, because a cache that takes longer than a build is none.
const LONGEST: Duration = Duration::from_secs(300);

impl Engine {
    /// Returns the first of these images that its registry has, as `name@sha256:…`, if the engine has none of them. With
    /// BuildKit there is one only if the images have an inline cache. A failure is a line in the log.
    pub async fn cache_source(
        &self,
        images: &[ImageRef],
        auth: Option<&RegistryAuth>,
        has_inline_cache: bool,
        log: &dyn LogSink,
    ) -> Option<String> {
        let late = |_| EngineError::engine(format!("it took more than {} s", LONGEST.as_secs()));
        let found = timeout(LONGEST, self.find_cache(images, auth, has_inline_cache, log)).await;
        found.map_err(late).flatten().unwrap_or_else(|error| {
            write_line(log, &format!("No image is taken as a cache: {error}"));
            None
        })
    }

    async fn find_cache(
        &self,
        images: &[ImageRef],
        auth: Option<&RegistryAuth>,
        has_inline_cache: bool,
        log: &dyn LogSink,
    ) -> Result<Option<String>, EngineError> {
        let builder = self.builder_now().await?;
        // Podman's own cache takes no image that has a tag or a digest.
        if self.kind().await?.is_podman {
            return Ok(None);
        }
        if builder == Builder::Buildkit && !has_inline_cache {
            return Ok(None);
        }
        for image in images {
            match self.json::<Value>(Method::GET, &format!("/images/{image}/json")).await {
                Err(e) if e.status == Some(StatusCode::NOT_FOUND) => {}
                Err(e) => return Err(e),
                Ok(_) => return Ok(None),
            }
        }
        for image in images {
            let digest = match self.digest(image, auth).await {
                Ok(digest) => digest,
                Err(e) if e.kind == ErrorKind::Exposed => return Err(e),
                Err(e) => {
                    write_line(log, &format!("{image} is not taken as a cache: {e}"));
                    continue;
                }
            };
            write_line(log, &format!("The layers of {image} ({digest}) are taken as a cache"));
            return match builder {
                Builder::Classic => self.pull_digest(image, &digest, auth, log).await.map(Some),
                _ => Ok(Some(format!("{}@{digest}", image.name()))),
            };
        }
        Ok(None)
    }
}
