//! Brings an image that the engine has up to date with its registry.

use std::collections::HashSet;

use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::advice::{self, with_cure};
use super::api::connect::{invalid, no_body, request};
use super::api::engine::Engine;
use super::api::errors::{EngineError, write_line};
use super::api::kind::ErrorKind;
use super::api::messages::MessageStream;
use crate::model::{ImageRef, LogSink, PinnedImage};
use crate::secrets::RegistryAuth;

/// The used part of `GET /images/{name}/json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LocalImage {
    id: String,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
}

/// The used part of `GET /distribution/{name}/json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RegistryImage {
    descriptor: ImageDescriptor,
}

#[derive(Deserialize)]
struct ImageDescriptor {
    digest: String,
}

impl Engine {
    /// Fetches what the registry has by this name, if the engine has something else by it. Returns the fetched image, as
    /// `name@sha256:…`; `None` if the engine's image is the registry's, or if it has none, because the builder then asks
    /// the registry itself. The engine's image keeps its name.
    ///
    /// # Errors
    /// The registry or the engine is in trouble. A registry that has no such image, or does not show it, is no error: the
    /// engine's own image then stays, and the log says so.
    pub async fn fetch_moved(
        &self,
        image: &ImageRef,
        auth: Option<&RegistryAuth>,
        log: &dyn LogSink,
    ) -> Result<Option<String>, EngineError> {
        // Podman looks base images up by itself, and cannot be asked for a digest.
        if self.kind().await?.is_podman {
            return Ok(None);
        }
        let local: LocalImage = match self.json(Method::GET, &format!("/images/{image}/json")).await {
            Err(e) if e.status == Some(StatusCode::NOT_FOUND) => return Ok(None),
            local => local?,
        };
        let digest = match self.digest(image, auth).await {
            Ok(digest) => digest,
            Err(e) if matches!(e.kind, ErrorKind::Registry | ErrorKind::Engine | ErrorKind::Exposed) => return Err(e),
            Err(e) => {
                write_line(log, &with_cure(&advice::OWN_COPY, &[image, &e]));
                return Ok(None);
            }
        };
        if local.repo_digests.iter().flatten().any(|known| known.split('@').nth(1) == Some(&digest)) {
            return Ok(None);
        }
        write_line(log, &format!("{image} has moved: {digest} is pulled"));
        self.pull_digest(image, &digest, auth, log).await.map(Some)
    }

    /// Pulls what the image's repository has by this digest, and returns it as `name@sha256:…`. No name in the engine moves.
    pub(super) async fn pull_digest(
        &self,
        image: &ImageRef,
        digest: &str,
        auth: Option<&RegistryAuth>,
        log: &dyn LogSink,
    ) -> Result<String, EngineError> {
        self.pull(image, digest, auth, log).await?;
        Ok(format!("{}@{digest}", image.name()))
    }

    /// Returns the id of the image that has this name.
    pub(super) async fn image_id(&self, image: &ImageRef) -> Result<String, EngineError> {
        Ok(self.json::<LocalImage>(Method::GET, &format!("/images/{image}/json")).await?.id)
    }

    /// Pulls an image that the engine lacks.
    pub(super) async fn fetch_missing(
        &self,
        image: &PinnedImage,
        auth: Option<&RegistryAuth>,
        log: &dyn LogSink,
    ) -> Result<(), EngineError> {
        match self.json::<LocalImage>(Method::GET, &format!("/images/{image}/json")).await {
            Err(e) if e.status == Some(StatusCode::NOT_FOUND) => {}
            local => return local.map(drop),
        }
        write_line(log, &format!("{image} is pulled"));
        self.pull(&image.image, image.reference(), auth, log).await
    }

    /// Pulls what the image's repository has by this tag or digest.
    async fn pull(
        &self,
        image: &ImageRef,
        reference: &str,
        auth: Option<&RegistryAuth>,
        log: &dyn LogSink,
    ) -> Result<(), EngineError> {
        let path = format!("/images/create?fromImage={}&tag={reference}", image.name());
        let request = request(Method::POST, &path).header("X-Registry-Auth", self.login_header(image, auth).await?);
        let reply = self.send(request.body(no_body()).map_err(invalid)?).await?;
        let reply = reply.accepted().await.map_err(EngineError::classify_refusal)?;
        let (mut messages, mut layers) = (MessageStream::new(reply), HashSet::new());
        while let Some(message) = messages.next().await? {
            log.alive();
            if let Some(error) = message.error() {
                return Err(EngineError::from_build(error, None));
            }
            if message.status == "Pull complete" && layers.insert(message.id.clone()) {
                write_line(log, &format!("{}: {}", message.id, message.status));
            }
        }
        Ok(())
    }

    /// Asks the registry, by way of the engine, for the digest of an image.
    pub(super) async fn digest(&self, image: &ImageRef, auth: Option<&RegistryAuth>) -> Result<String, EngineError> {
        let path = format!("/distribution/{image}/json");
        let request = request(Method::GET, &path).header("X-Registry-Auth", self.login_header(image, auth).await?);
        let reply = self.send(request.body(no_body()).map_err(invalid)?).await?;
        // The engine gives a status of its own to what the registry says.
        let reply = reply.accepted().await.map_err(|e| match e.status {
            Some(_) => EngineError::from_build(&e.message, None),
            None => e,
        })?;
        let found: RegistryImage = reply.json().await?;
        Ok(found.descriptor.digest)
    }
}
