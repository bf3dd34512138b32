//! Requests to an engine, with the API version that is spoken with it.

use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, Request, Uri};
use serde::de::DeserializeOwned;

use super::connect::{Reply, RequestBody, invalid};
use super::engine::Engine;
use super::errors::EngineError;
use super::version::{EngineKind, EngineVersion};

impl Engine {
    /// Asks the engine for its version, and speaks the newest API version that both sides know from now on.
    ///
    /// # Errors
    /// The engine does not answer, or no longer knows any API version that is known here.
    pub(in crate::engine) async fn version(&self) -> Result<EngineVersion, EngineError> {
        self.ask_version().await.map(|(version, _)| version)
    }

    async fn ask_version(&self) -> Result<(EngineVersion, EngineKind), EngineError> {
        let version: EngineVersion = self.host.json(Method::GET, "/version").await?;
        let kind = EngineKind { api: version.common(&self.host)?, is_podman: version.is_podman() };
        *self.kind.lock().unwrap_or_else(PoisonError::into_inner) = Some(kind);
        Ok((version, kind))
    }

    /// Returns how to speak with the engine, which is asked the first time. It is asked again whenever it returns,
    /// because it may return as another version.
    pub(in crate::engine) async fn kind(&self) -> Result<EngineKind, EngineError> {
        let known = *self.kind.lock().unwrap_or_else(PoisonError::into_inner);
        match known {
            Some(kind) => Ok(kind),
            None => self.ask_version().await.map(|(_, kind)| kind),
        }
    }

    /// Sends a request, see [`super::connect::Host::send`].
    pub(in crate::engine) async fn send(&self, mut request: Request<RequestBody>) -> Result<Reply, EngineError> {
        let path = self.kind().await?.path(&request.uri().to_string());
        *request.uri_mut() = Uri::try_from(path).map_err(|e| invalid(e.into()))?;
        self.host.send(request).await
    }

    /// Sends a small request whose answer is JSON, see [`super::connect::Host::json`].
    pub(in crate::engine) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<T, EngineError> {
        self.host.json(method, &self.kind().await?.path(path)).await
    }

    /// Sends a request without a body, see [`super::connect::Host::ask`].
    pub(in crate::engine) async fn ask(
        &self,
        method: Method,
        path: &str,
        limit: Duration,
    ) -> Result<Bytes, EngineError> {
        self.host.ask(method, &self.kind().await?.path(path), limit).await
    }
}
